/* The tutorial's application client: one request, one response. Build and run it as
 *     cc -o app_client app_client.c && ./app_client HOST PORT ACTION VALUE
 * `search` sends JSON and prints the result; any other action sends bytes and prints the response's bytes. */
#include "vang.h"

static struct message response;

static bool ask(FILE *out, const char *action, const char *value)
{
	char *content = NULL;
	size_t length;
	FILE *request = open_memstream(&content, &length);
	bool search = strcmp(action, "search") == 0;
	fputs(search ? "{\"action\": \"search\", \"value\": \"" : action, request);
	for (; *value; value++) /* in JSON, control characters, quotes and backslashes need an escape */
		if (search && *value == '\n') fputs("\\n", request);
		else fprintf(request, !search ? "%c" : (unsigned char)*value < ' ' ? "\\u%04x" : strchr("\"\\", *value) ? "\\%c" : "%c", *value);
	fputs(search ? "\"}" : "", request);
	fclose(request);
	bool written = write_message(out, search ? TEXT_JSON
	    : "\"content-type\": \"binary/custom-client-binary-type\", \"content-encoding\": \"binary\"", content, length);
	free(content);
	return written;
}
int main(int count, char **words)
{
	FILE *in, *out;
	if (count != 5) return fprintf(stderr, "usage: %s HOST PORT ACTION VALUE\n", words[0]), 2;
	if (!open_streams(open_socket(words[1], words[2], connect), 5, &in, &out)) return 1;
	if (!ask(out, words[3], words[4]) || !read_message(in, &response)) return fputs("no answer\n", stderr), 1;
	if (header_is(&response, "content-type", "\"text/json\"")) json_print(stdout, response.content, "result", "\n");
	else fwrite(response.content, 1, response.length, stdout);
	return 0;
}
