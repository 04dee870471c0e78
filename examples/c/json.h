/* As much JSON as the protocol needs from C. Inputs end in NUL, outputs are streams: there is no size to get wrong. */
#define _POSIX_C_SOURCE 200809L /* include vang.h, and so this, before all else */
#include <stdio.h>
#include <string.h>
#define TEXT_JSON "\"content-type\": \"text/json\", \"content-encoding\": \"utf-8\""
static inline size_t json_inside(const char *string) /* the bytes up to its closing quote, or to the end */
{
	size_t length = 0;
	while (string[length] && string[length] != '"') length += string[length] == '\\' && string[length + 1] ? 2 : 1;
	return length;
}
/* Where the value of `key` begins in an object: of two such keys, the last one's; NULL if there is none. */
static inline const char *json_find(const char *json, const char *key)
{
	const char *found = NULL;
	long depth = 0;
	for (const char *at = json; *at; at++) {
		depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
		if (*at != '"') continue;
		size_t length = json_inside(at + 1);
		const char *start = at + 1, *colon = start + length + strspn(start + length, "\" \t\r\n");
		if (depth == 1 && *colon == ':' && length == strlen(key) && memcmp(start, key, length) == 0)
			found = colon + 1 + strspn(colon + 1, " \t\r\n");
		at = colon - 1;
	}
	return depth == 0 ? found : NULL;
}
/* A value, without quotes and escapes (only \u stays: JSON in UTF-8 needs none), and what is to follow it. */
static inline void json_print(FILE *out, const char *json, const char *key, const char *after)
{
	static const char named[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	const char *value = json_find(json, key);
	if (value && *value != '"') fwrite(value, 1, strcspn(value, ",}] \t\r\n"), out);
	else while (value && *++value && *value != '"') {
		const char *name = *value == '\\' && value[1] ? strchr(named, value[1]) : NULL;
		putc(name ? meant[name - named] : *value, out);
		value += name ? 1 : 0;
	}
	fputs(after, out);
}
