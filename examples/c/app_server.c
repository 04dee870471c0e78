/* The guide's application server: one request a connection, one connection at a time, JSON in UTF-8 only. Run it as
 *     cc -o app_server app_server.c && ./app_server HOST PORT        (port 0: any free one; it is printed) */
#define _POSIX_C_SOURCE 200809L
#include "net.h"
#include "vang.h"
#include <signal.h>
static const char *const answers[][2] = {{"\"morpheus\"", "Follow the white rabbit. 🐰"},
	{"\"ring\"", "In the caves beneath the Misty Mountains. 💍"}, {"\"🐶\"", "🐾 Playing ball! 🏐"}};
static struct message request;

static void print_result(FILE *out, const char *action, const char *value)
{
	bool search = action && strncmp(action, "\"search\"", 8) == 0;
	const char *shown = search ? value : action, *answer = NULL;
	for (size_t i = 0; search && value && i < sizeof answers / sizeof *answers; i++)
		if (strncmp(value, answers[i][0], strlen(answers[i][0])) == 0) answer = answers[i][1];
	if (answer) fprintf(out, "{\"result\": \"%s\"}", answer);
	else fprintf(out, "{\"result\": \"%s '%.*s'.\"}", search ? "No match for" : "Error: invalid action",
	             shown && *shown == '"' ? (int)json_inside(shown + 1) : 4, shown && *shown == '"' ? shown + 1 : "None");
}
static void answer(FILE *to)
{
	char *content = NULL;
	size_t length = 0, first = request.length < 10 ? request.length : 10;
	bool json = header_is(&request, "content-type", "\"text/json\"");
	FILE *out = open_memstream(&content, &length);
	if (json) print_result(out, json_find(request.content, "action"), json_find(request.content, "value"));
	else fprintf(out, "First 10 bytes of request: "), fwrite(request.content, 1, first, out);
	fclose(out);
	write_message(to, json ? JSON : "\"content-type\": \"binary/custom-server-binary-type\", \"content-encoding\": \"binary\"", content, length);
	free(content);
}
int main(int count, char **words)
{
	FILE *in, *out;
	int listener = count == 3 ? open_socket(words[1], words[2], bind) : -1;
	signal(SIGPIPE, SIG_IGN); /* a client that has gone makes writing fail, no more */
	for (bool up = start_listening(listener, words[1]); up;) {
		if (!open_streams(accept(listener, NULL, NULL), 10, &in, &out)) continue;
		if (read_message(in, &request)) answer(out);
		fclose(in);
		fclose(out);
	}
	return fputs("usage: app_server HOST PORT\n", stderr), 2;
}
