/* Send and follow in a room of a vang server; build it with cc -o chat chat.c and run it as
 *     ./chat HOST PORT send ROOM TEXT [AS]          prints the message's address, as general#7
 *     ./chat HOST PORT follow ROOM [AS] [SINCE]     prints messages, from SINCE + 1 on */
#include "vang.h"
static struct message m;

static bool ask(FILE *out, const char *action, const char *room, const char *text, const char *name, const char *since)
{
	char keys[1024];
	unsigned long id;
	FILE *noise = fopen("/dev/urandom", "r");
	if (!noise || fread(&id, sizeof id, 1, noise) != 1 || strpbrk(room, "\"\\") || strpbrk(name, "\"\\")) return false;
	int size = snprintf(keys, sizeof keys, "\"content-type\": \"text/plain\", \"content-encoding\": \"utf-8\", "
	    "\"action\": \"%s\", \"room\": \"%s\", \"id\": \"%lx\"%s%s%s%s%s", action, room, id, /* posted once, if sent again */
	    *name ? ", \"as\": \"" : "", name, *name ? "\"" : "", *since ? ", \"since\": " : "", since);
	return size < (int)sizeof keys && write_message(out, keys, text, strlen(text));
}
static void show(void) /* without control characters, which would speak to the terminal */
{
	if (header_is(&m, "event", "\"hole\"")) {
		fputs("hole ", stdout), json_print(stdout, m.header, "from", "-");
		json_print(stdout, m.header, "to", " "), json_print(stdout, m.header, "why", "\n");
	} else if (header_is(&m, "event", "\"message\"")) {
		json_print(stdout, m.header, "n", " "), json_print(stdout, m.header, "from", ": ");
		for (char *at = m.content; at < m.content + m.length; at++) *at = (unsigned char)*at < ' ' || *at == 127 ? ' ' : *at;
		puts(header_is(&m, "content-encoding", "\"utf-8\"") ? m.content : "(not in UTF-8)");
	}
}
int main(int count, char **words)
{
	FILE *in, *out;
	bool send = count > 5 && strcmp(words[3], "send") == 0;
	if (!send && (count < 5 || strcmp(words[3], "follow") != 0)) return fputs("usage: see the top of chat.c\n", stderr), 2;
	const char *fifth = count > 5 ? words[5] : "", *sixth = count > 6 ? words[6] : "";
	if (!open_streams(open_socket(words[1], words[2], connect), 0, &in, &out)
	    || !ask(out, words[3], words[4], send ? fifth : "", send ? sixth : fifth, send ? "" : sixth) || !read_message(in, &m))
		return fputs("no answer\n", stderr), 1;
	if (!header_is(&m, "status", "\"ok\"")) return json_print(stderr, m.header, "detail", "\n"), 1;
	if (send) return json_print(stdout, m.header, "address", "\n"), 0;
	while (read_message(in, &m)) show(), fflush(stdout);
}
