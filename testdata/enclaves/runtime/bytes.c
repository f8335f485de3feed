/* memcpy and family, and text. The compiler calls the first four on its own. */
#include "eos_edp.h"

void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t n)
{
	u8 *t = to;
	const u8 *f = from;
	if (t <= f || t >= f + n)
		return memcpy(to, from, n);
	while (n-- > 0)
		t[n] = f[n];
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;
	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

u64 parse_u64(const char *s)
{
	u64 v = 0;
	if (*s == 0)
		panic("a number is missing");
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			panic("bad number at \"%s\"", s);
		v = v * 10 + (u64)(*s - '0');
	}
	return v;
}

struct sink {
	char *to;
	size_t cap, len;
};

static void put(struct sink *s, char c)
{
	if (s->len < s->cap)
		s->to[s->len] = c;
	s->len++;
}

static void put_number(struct sink *s, u64 v, unsigned base, int width, char pad, int negative)
{
	char digits[24];
	int n = 0;
	do
		digits[n++] = "0123456789abcdef"[v % base];
	while ((v /= base) != 0);
	if (negative)
		digits[n++] = '-';
	for (int i = n; i < width; i++)
		put(s, pad);
	while (n > 0)
		put(s, digits[--n]);
}

size_t vformat(char *to, size_t cap, const char *f, va_list args)
{
	struct sink s = {to, cap, 0};
	for (; *f; f++) {
		if (*f != '%') {
			put(&s, *f);
			continue;
		}
		char pad = ' ';
		int width = 0, is_long = 0;
		if (*++f == '0')
			pad = '0', f++;
		if (*f == '*')
			width = va_arg(args, int), f++;
		while (*f >= '0' && *f <= '9')
			width = width * 10 + (*f++ - '0');
		while (*f == 'l')
			is_long = 1, f++;
		switch (*f) {
		case 'd': {
			int64_t v = is_long ? va_arg(args, int64_t) : va_arg(args, int);
			put_number(&s, v < 0 ? -(u64)v : (u64)v, 10, width, pad, v < 0);
			break;
		}
		case 'u':
		case 'x':
			put_number(&s, is_long ? va_arg(args, u64) : va_arg(args, u32), *f == 'u' ? 10 : 16, width, pad, 0);
			break;
		case 'p':
			put(&s, '0'), put(&s, 'x');
			put_number(&s, va_arg(args, u64), 16, 0, '0', 0);
			break;
		case 'c':
			put(&s, (char)va_arg(args, int));
			break;
		case 's': {
			const char *t = va_arg(args, const char *);
			for (int i = (int)strlen(t); i < width; i++)
				put(&s, ' ');
			while (*t)
				put(&s, *t++);
			break;
		}
		case 'H': {
			int n = va_arg(args, int);
			const u8 *b = va_arg(args, const u8 *);
			for (int i = 0; i < n; i++)
				put_number(&s, b[i], 16, 2, '0', 0);
			break;
		}
		default:
			put(&s, *f);
		}
	}
	return s.len;
}

size_t format(char *to, size_t cap, const char *f, ...)
{
	va_list args;
	va_start(args, f);
	size_t n = vformat(to, cap, f, args);
	va_end(args);
	return n;
}
