/* The guide's application client: one request, one response. Build and run it as
 *     cc -o app_client app_client.c && ./app_client HOST PORT ACTION VALUE
 * `search` asks in JSON and prints the result; any other action is sent as bytes, and the answer's bytes are printed. */
#define _POSIX_C_SOURCE 200809L
#include "net.h"
#include "vang.h"

static struct message response;

static bool ask(FILE *out, const char *action, const char *value)
{
	char *content = NULL;
	size_t length;
	FILE *request = open_memstream(&content, &length);
	bool search = strcmp(action, "search") == 0;
	if (search) {
		fputs("{\"action\": \"search\", \"value\": \"", request);
		json_escape(request, value);
		fputs("\"}", request);
	} else
		fprintf(request, "%s%s", action, value);
	fclose(request);
	return write_message(out, search ? "\"content-type\": \"text/json\", \"content-encoding\": \"utf-8\""
	    : "\"content-type\": \"binary/custom-client-binary-type\", \"content-encoding\": \"binary\"", content, length);
}
int main(int count, char **words)
{
	FILE *in, *out;
	int fd = count == 5 ? open_socket(words[1], words[2], connect) : -1;
	if (count != 5) return fprintf(stderr, "usage: %s HOST PORT ACTION VALUE\n", words[0]), 2;
	if (fd < 0) return 1;
	open_streams(fd, &in, &out);
	if (!ask(out, words[3], words[4]) || !read_message(in, &response)) return fputs("no answer\n", stderr), 1;
	const char *result = header_is(&response, "content-type", "\"text/json\"") ? json_find(response.content, "result") : NULL;
	if (result) json_print(stdout, result), putchar('\n');
	else fwrite(response.content, 1, response.length, stdout);
	return 0;
}
