/*
 * eos.h: the host of an app, as seen from a C program that is compiled to
 * WebAssembly and runs in an enclave of eos. It needs no library; with wasi-libc
 * there is malloc and the rest of C.
 *
 *	#define EOS_IMPLEMENTATION   // in one file of the program
 *	#include "eos.h"
 *
 *	EOS_EXPORT("hello(name:string)string")
 *	void hello(const char *name, int32_t len) { eos_reply("Hello.", 6); }
 *
 *	clang --target=wasm32-wasi -mexec-model=reactor -O2 -I sdk/c -o app.wasm app.c
 *
 * The name of an export spells out its types: bool, s32, u32, s64, u64, f32, f64,
 * string, bytes, json. A parameter of one of the last three is a pointer and a
 * length. Such a result is given with eos_reply, and the function returns nothing.
 *
 * Pointers and lengths are the guest's own. A function returns a number that is
 * not negative, or one of the EOS_ERR codes. Where it says "result", the number is
 * a length: eos_result_read takes the bytes, until the next call that has a result.
 * The groups of functions, from kv to attestation, are granted by the manifest.
 */
#ifndef EOS_H
#define EOS_H

#include <stdint.h>

#define EOS_EXPORT(signature) __attribute__((export_name(signature), used))
#define EOS_IMPORT(name) __attribute__((import_module("eos"), import_name(#name))) int32_t eos_##name

#ifdef __cplusplus
extern "C" {
#endif

enum {
	EOS_ERR_FAULT = -1,       /* memory that the guest does not have */
	EOS_ERR_NOT_FOUND = -2,   /* no such key, name or record */
	EOS_ERR_DENIED = -3,      /* not granted, or not on the allow-list */
	EOS_ERR_INVALID = -4,     /* an argument that makes no sense */
	EOS_ERR_TOO_LARGE = -5,   /* beyond a limit of the interface */
	EOS_ERR_UNAVAILABLE = -6, /* the store or the network failed */
	EOS_ERR_AUTH = -7,        /* a ciphertext that is not authentic */
	EOS_ERR_EXISTS = -8,      /* the name is taken */
	EOS_ERR_NO_ROOM = -9,     /* the app has stored as much as it may */
};

enum { EOS_SHA256 = 1, EOS_SHA384 = 2, EOS_SHA512 = 3 };
enum { EOS_AES256 = 1, EOS_ECDSA_P256 = 2, EOS_ECDSA_P384 = 3, EOS_HMAC_KEY = 4 };
enum { EOS_DEBUG = -4, EOS_INFO = 0, EOS_WARN = 4, EOS_ERROR = 8 };

/* For everyone. */
EOS_IMPORT(result_read)(void *ptr, int32_t len); /* copies at most len bytes of the result; returns how many */
EOS_IMPORT(reply)(const void *ptr, int32_t len); /* these bytes are the result of the call that is being answered */
EOS_IMPORT(fail)(const char *text, int32_t len); /* the call fails with this text */
EOS_IMPORT(log)(int32_t level, const char *text, int32_t len); /* a line to the log */

/* kv: the app's own store. */
EOS_IMPORT(kv_get)(const void *key, int32_t len); /* result, the value */
EOS_IMPORT(kv_put)(const void *key, int32_t key_len, const void *value, int32_t value_len); /* 0 when the value is durable */
EOS_IMPORT(kv_delete)(const void *key, int32_t len); /* 1 if there was such a key */
EOS_IMPORT(kv_list)(const void *prefix, int32_t prefix_len, const void *after, int32_t after_len, int32_t limit); /* result, keys with the prefix behind after, each a u32 and bytes */

/* crypto: digests, and keys that stay in the host. */
EOS_IMPORT(digest)(int32_t algorithm, const void *data, int32_t len); /* result */
EOS_IMPORT(key_generate)(int32_t kind, const char *name, int32_t len);
EOS_IMPORT(key_import)(int32_t kind, const char *name, int32_t name_len, const void *raw, int32_t raw_len);
EOS_IMPORT(key_exists)(const char *name, int32_t len); /* 1 or 0 */
EOS_IMPORT(key_delete)(const char *name, int32_t len); /* 1 if there was such a key */
EOS_IMPORT(key_public)(const char *name, int32_t len); /* result, SubjectPublicKeyInfo in DER */
EOS_IMPORT(encrypt)(const char *name, int32_t name_len, const void *nonce, int32_t nonce_len, const void *aad, int32_t aad_len, const void *data, int32_t data_len); /* result; with no nonce the host makes one and puts it in front */
EOS_IMPORT(decrypt)(const char *name, int32_t name_len, const void *nonce, int32_t nonce_len, const void *aad, int32_t aad_len, const void *data, int32_t data_len); /* result */
EOS_IMPORT(sign)(const char *name, int32_t name_len, const void *data, int32_t data_len); /* result, the signature in DER */
EOS_IMPORT(verify)(const char *name, int32_t name_len, const void *data, int32_t data_len, const void *signature, int32_t signature_len); /* 1 or 0 */
EOS_IMPORT(hmac)(int32_t algorithm, const char *name, int32_t name_len, const void *data, int32_t data_len); /* result, the tag */
EOS_IMPORT(hmac_verify)(int32_t algorithm, const char *name, int32_t name_len, const void *data, int32_t data_len, const void *tag, int32_t tag_len); /* 1 or 0 */

/* random: of the processor. */
EOS_IMPORT(random)(void *ptr, int32_t len); /* fills the bytes */

/* https: requests to where the manifest allows. */
EOS_IMPORT(https_fetch)(const char *method, int32_t method_len, const char *url, int32_t url_len, const char *headers, int32_t headers_len, const void *body, int32_t body_len); /* result, the response's body */
EOS_IMPORT(https_status)(void); /* of the last https_fetch */
EOS_IMPORT(https_headers)(void); /* result, those of the last https_fetch */

/* seal: a key of this app's code in this enclave. */
EOS_IMPORT(seal_key)(void); /* result, 32 bytes */

/* caller: who calls. */
EOS_IMPORT(caller)(void); /* result, JSON */

/* attestation: the app's own certificate. */
EOS_IMPORT(attestation_set)(int32_t n, const void *value, int32_t len); /* extension 1.3.6.1.4.1.65230.3.5.n */
#undef EOS_IMPORT

/*
 * The host puts parameters into memory that this makes. An instance lives for one
 * call, so nobody frees them.
 */
#ifdef EOS_IMPLEMENTATION
EOS_EXPORT("eos_alloc") void *eos_alloc(int32_t size);
#if __has_include(<stdlib.h>)
#include <stdlib.h>
void *eos_alloc(int32_t size) { return malloc(size > 0 ? (uint32_t)size : 1); }
#else
extern unsigned char __heap_base;
void *eos_alloc(int32_t size) {
	static uintptr_t next;
	if (next == 0)
		next = (uintptr_t)&__heap_base;
	uintptr_t at = (next + 15) & ~(uintptr_t)15, end = at + (uint32_t)size;
	uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
	if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (uintptr_t)-1)
		__builtin_trap();
	next = end;
	return (void *)at;
}
#endif
#endif

#ifdef __cplusplus
}
#endif
#endif
