/*
 * An app of two functions, for an enclave of eos:
 *
 *	clang --target=wasm32-wasi -mexec-model=reactor -O2 -I ../../sdk/c -o hello.wasm hello.c
 */
#define EOS_IMPLEMENTATION
#include "eos.h"

#include <stdio.h>

EOS_EXPORT("hello(name:string)string")
void hello(const char *name, int32_t len) {
	char text[200];
	int n = snprintf(text, sizeof text, "Hello, %.*s, from inside an enclave.", len > 0 ? (int)len : 5, len > 0 ? name : "world");
	if (n >= (int)sizeof text) {
		eos_fail("a name this long is nobody's", 28);
		return;
	}
	eos_reply(text, n);
}

EOS_EXPORT("add(a:s32,b:s32)s32")
int32_t add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
