/* Sockets by the name of their host, as streams. fread waits for all it is asked for, in whatever pieces it comes. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
/* `use` is connect or bind, tried on each address of the host in turn. -1, and why on stderr, when none will do. */
static inline int open_socket(const char *host, const char *port, int (*use)(int, const struct sockaddr *, socklen_t))
{
	struct addrinfo wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
	int fd = -1, on = 1, error = getaddrinfo(*host ? host : NULL, port, &wanted, &found);
	if (error) fprintf(stderr, "%s: %s\n", host, gai_strerror(error));
	for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* for the port of a server that has just ended */
		if (use(fd, at->ai_addr, at->ai_addrlen) == 0) continue;
		perror(host);
		close(fd);
		fd = -1;
	}
	if (found) freeaddrinfo(found);
	return fd;
}
static inline int listen_and_say_so(const char *host, const char *port)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof address;
	char name[8];
	int fd = open_socket(host, port, bind);
	if (fd < 0 || listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0) return -1;
	getnameinfo((struct sockaddr *)&address, size, NULL, 0, name, sizeof name, NI_NUMERICSERV);
	return printf("listening on %s:%s\n", host, name) > 0 && fflush(stdout) == 0 ? fd : -1;
}
static inline bool open_streams(int fd, int seconds, FILE **in, FILE **out)
{
	struct timeval silence = {.tv_sec = seconds}; /* that is allowed; 0: any */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &silence, sizeof silence);
	return fd >= 0 && (*in = fdopen(fd, "r")) && (*out = fdopen(dup(fd), "w"));
}
