/* The tutorial's application server: one request per connection, one connection at a time, JSON in UTF-8 only. Run it as
 *     cc -o app_server app_server.c && ./app_server HOST PORT        (port 0: any free one; it is printed) */
#include "vang.h"
#include <signal.h>
static const char *const answers[][2] = {{"morpheus\"", "Follow the white rabbit. 🐰"},
	{"ring\"", "In the caves beneath the Misty Mountains. 💍"}, {"🐶\"", "🐾 Playing ball! 🏐"}};
static struct message request;
static char content[CONTENT_BYTES_MAX + 64];

static size_t result(void) /* goes into `content`; its length */
{
	const char *action = json_find(request.content, "action"), *value = json_find(request.content, "value");
	bool search = action && strncmp(action, "\"search\"", 8) == 0;
	const char *asked = search ? value : action, *text = asked && *asked == '"' ? asked + 1 : "None\"";
	for (size_t i = 0; search && i < sizeof answers / sizeof *answers; i++)
		if (strncmp(text, answers[i][0], strlen(answers[i][0])) == 0)
			return (size_t)sprintf(content, "{\"result\": \"%s\"}", answers[i][1]);
	return (size_t)snprintf(content, sizeof content, "{\"result\": \"%s '%.*s'.\"}", /* escapes stay: it is JSON again */
	                        search ? "No match for" : "Error: invalid action", (int)json_inside(text), text);
}
static bool answer(FILE *out)
{
	if (strncmp(json_find(request.header, "content-type"), "\"text/json\"", 11) == 0) /* case-sensitive, as in the tutorial */
		return header_is(&request, "content-encoding", "\"utf-8\"") && write_message(out, TEXT_JSON, content, result());
	size_t before = (size_t)sprintf(content, "First 10 bytes of request: "), first = request.length < 10 ? request.length : 10;
	memcpy(content + before, request.content, first);
	return write_message(out, "\"content-type\": \"binary/custom-server-binary-type\", \"content-encoding\": \"binary\"",
	                     content, before + first);
}
int main(int count, char **words)
{
	int listener = count == 3 ? listen_and_say_so(words[1], words[2]) : -1;
	signal(SIGPIPE, SIG_IGN); /* a client that has gone makes writing fail, no more */
	for (FILE *in, *out; listener >= 0; fclose(in), fclose(out)) {
		while (!open_streams(accept(listener, NULL, NULL), 10, &in, &out)) continue;
		if (!read_message(in, &request) || !answer(out)) fputs("a client got no answer\n", stderr);
	}
	return 1;
}
