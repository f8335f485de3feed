/*
 * Work for the bench: some of everything that programs do, and a loop of one line.
 */
#define EOS_IMPLEMENTATION
#include "eos.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t sort(uint32_t seed) {
	static uint32_t v[2000];
	for (int i = 0; i < 2000; i++)
		v[i] = seed = seed * 1664525 + 1013904223;
	qsort(v, 2000, sizeof v[0], compare);
	return v[777];
}

/* A tree of allocated nodes. */
struct node {
	struct node *left, *right;
	uint32_t key;
};

static struct node *insert(struct node *n, uint32_t key) {
	if (n == NULL) {
		n = calloc(1, sizeof *n);
		if (n == NULL)
			abort();
		n->key = key;
	} else if (key < n->key) {
		n->left = insert(n->left, key);
	} else {
		n->right = insert(n->right, key);
	}
	return n;
}

static uint32_t drop(struct node *n) {
	if (n == NULL)
		return 0;
	uint32_t sum = drop(n->left) + drop(n->right) + 1;
	free(n);
	return sum;
}

static uint32_t tree(uint32_t seed) {
	struct node *root = NULL;
	for (int i = 0; i < 500; i++)
		root = insert(root, seed = seed * 1664525 + 1013904223);
	return drop(root);
}

/* A reader of JSON that knows no errors. */
static uint32_t value(const char **at) {
	uint32_t sum = 0;
	while (**at == ' ' || **at == ',' || **at == ':')
		(*at)++;
	char open = *(*at)++;
	switch (open) {
	case '{':
	case '[':
		while (**at != '}' && **at != ']')
			sum = sum * 31 + value(at);
		(*at)++;
		return sum;
	case '"':
		while (**at != '"')
			sum = sum * 31 + (unsigned char)*(*at)++;
		(*at)++;
		return sum;
	}
	for (sum = (uint32_t)(open - '0'); **at >= '0' && **at <= '9'; (*at)++)
		sum = sum * 10 + (uint32_t)(**at - '0');
	return sum;
}

static uint32_t json(void) {
	uint32_t sum = 0;
	for (int i = 0; i < 100; i++) {
		const char *at = "{\"name\": \"some thing\", \"list\": [1, 22, 333], \"more\": {\"y\": 12345, \"z\": [\"a\", \"bb\", \"ccc\"]}}";
		sum ^= value(&at);
	}
	return sum;
}

/* FNV-1a over what is copied about. */
static uint32_t hash(void) {
	static unsigned char a[8192], b[8192];
	memset(a, 'x', sizeof a);
	uint32_t h = 2166136261u;
	for (int k = 0; k < 4; k++) {
		memcpy(b, a, sizeof a);
		for (size_t i = 0; i < sizeof b; i++)
			a[i] = (unsigned char)(h = (h ^ b[i]) * 16777619u);
	}
	return h;
}

EOS_EXPORT("work(n:s32)s32")
int32_t work(int32_t n) {
	uint32_t sum = 0;
	for (int32_t i = 0; i < n; i++)
		sum += sort((uint32_t)i) + tree((uint32_t)i) + json() + hash();
	return (int32_t)sum;
}

EOS_EXPORT("tight(n:s32)s32")
int32_t tight(int32_t n) {
	static volatile unsigned char page[4096];
	uint32_t sum = 0;
	for (int32_t i = 0; i < n; i++)
		sum += page[i & 4095];
	return (int32_t)sum;
}
