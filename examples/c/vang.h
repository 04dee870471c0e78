/* The message format for C: reads whole messages from a stream and writes them. Include it; it does nothing by itself. */
#include "json.h"
#include <stdbool.h>
#include "net.h"
#include <stdlib.h>
#include <strings.h>
enum { HEADER_BYTES_MAX = 65535, CONTENT_BYTES_MAX = 1 << 20 }; /* content: a vang server's default */
struct message {
	char header[HEADER_BYTES_MAX + 1], content[CONTENT_BYTES_MAX + 1]; /* each with a NUL behind it */
	size_t length;                                                     /* of the content */
};
static inline bool header_is(const struct message *m, const char *key, const char *json)
{
	const char *value = json_find(m->header, key);
	return value && strncasecmp(value, json, strlen(json)) == 0;
}
/* False: the peer has closed, or what it sent is not a message. */
static inline bool read_message(FILE *in, struct message *m)
{
	int high = getc(in), low = getc(in);
	m->length = low == EOF ? 0 : (size_t)(high << 8 | low);
	if (low == EOF || fread(m->header, 1, m->length, in) != m->length) return false;
	m->header[m->length] = 0;
	const char *number = json_find(m->header, "content-length");
	m->length = number ? strtoul(number, NULL, 10) : 0;
	if (!number || *number < '0' || *number > '9' || !strchr(",} \t\r\n", number[strspn(number, "0123456789")])
	    || !json_find(m->header, "byteorder") || !json_find(m->header, "content-type")
	    || !json_find(m->header, "content-encoding") || m->length > CONTENT_BYTES_MAX)
		return fputs("a required header is missing or malformed\n", stderr), false;
	m->content[m->length] = 0;
	return fread(m->content, 1, m->length, in) == m->length;
}
/* `keys`, as JSON, are what stands in the header beside its byte order and length. */
static inline bool write_message(FILE *out, const char *keys, const void *content, size_t length)
{
	const char *form = "{\"byteorder\": \"%s\", \"content-length\": %zu, %s}", *order = htons(1) == 1 ? "big" : "little";
	int size = snprintf(NULL, 0, form, order, length, keys);
	if (size < 0 || size > HEADER_BYTES_MAX || fprintf(out, "%c%c", size >> 8, size & 255) != 2) return false;
	return fprintf(out, form, order, length, keys) == size && fwrite(content, 1, length, out) == length && fflush(out) == 0;
}
