/* A command: each request runs it anew, as a CGI program. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *variable(const char *name) {
	const char *value = getenv(name);
	return value ? value : "";
}

int main(void) {
	char body[256];
	size_t n = fread(body, 1, sizeof body - 1, stdin);
	body[n] = 0;
	/* A file of the app's own, sealed, that stays from one request to the next. */
	unsigned long count = 0;
	FILE *f = fopen("/count", "r");
	if (f) {
		if (fscanf(f, "%lu", &count) != 1)
			return 1;
		fclose(f);
	}
	/* Others may read it at the same time: they see the old number or the new one. */
	unsigned long unique;
	char name[40];
	if (getentropy(&unique, sizeof unique) != 0)
		return 1;
	snprintf(name, sizeof name, "/count.%lx", unique);
	f = fopen(name, "w");
	if (!f || fprintf(f, "%lu", ++count) < 0 || fclose(f) != 0 || rename(name, "/count") != 0) {
		perror("/count");
		return 1;
	}
	printf("Status: 200\r\nContent-Type: text/plain\r\n\r\n%lu %s %s %s\n", count, variable("REQUEST_METHOD"), variable("PATH_INFO"), body);
	return 0;
}
