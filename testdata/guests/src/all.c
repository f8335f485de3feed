/*
 * Every function of the host once, as all.ts and all-go have it too: the three must give
 * the same answer.
 */
#define EOS_IMPLEMENTATION
#include "eos.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char out[4096];
static int at;

static void say(const char *format, ...) {
	va_list args;
	va_start(args, format);
	at += vsnprintf(out + at, sizeof out - at, format, args);
	va_end(args);
}

/* result takes the bytes of a call that has returned its length. */
static int32_t result(int32_t n, char *to, int32_t room) { return n < 0 ? n : eos_result_read(to, n < room ? n : room); }

static void hex(const char *what, const char *bytes, int32_t n) {
	say("%s ", what);
	for (int i = 0; i < n; i++)
		say("%02x", (unsigned char)bytes[i]);
	say("\n");
}

#define TEXT(s) s, (int32_t)(sizeof s - 1)

EOS_EXPORT("all(url:string)string")
void all(const char *url, int32_t url_len) {
	char buf[1024], sealed[256];
	static const char zeros[32];
	at = 0;

	hex("digest", buf, result(eos_digest(EOS_SHA384, TEXT("abc")), buf, sizeof buf));
	say("has %d\n", eos_key_exists(TEXT("k")));
	say("generate %d %d\n", eos_key_generate(EOS_AES256, TEXT("k")), eos_key_generate(EOS_AES256, TEXT("k")));
	say("has %d\n", eos_key_exists(TEXT("k")));
	int32_t n = result(eos_encrypt(TEXT("k"), 0, 0, TEXT("aad"), TEXT("data")), sealed, sizeof sealed);
	int32_t m = result(eos_decrypt(TEXT("k"), 0, 0, TEXT("aad"), sealed, n), buf, sizeof buf);
	say("encrypt %d %.*s\n", n, (int)m, buf);
	say("decrypt %d\n", eos_decrypt(TEXT("k"), 0, 0, TEXT("other"), sealed, n));
	say("generate %d\n", eos_key_generate(EOS_ECDSA_P256, TEXT("s")));
	n = result(eos_sign(TEXT("s"), TEXT("data")), sealed, sizeof sealed);
	say("verify %d %d\n", eos_verify(TEXT("s"), TEXT("data"), sealed, n), eos_verify(TEXT("s"), TEXT("other"), sealed, n));
	say("public %d\n", eos_key_public(TEXT("s")));
	say("import %d\n", eos_key_import(EOS_HMAC_KEY, TEXT("h"), zeros, sizeof zeros));
	n = result(eos_hmac(EOS_SHA256, TEXT("h"), TEXT("data")), sealed, sizeof sealed);
	hex("hmac", sealed, n);
	say("verify %d", eos_hmac_verify(EOS_SHA256, TEXT("h"), TEXT("data"), sealed, n));
	sealed[0] ^= 1;
	say(" %d\n", eos_hmac_verify(EOS_SHA256, TEXT("h"), TEXT("data"), sealed, n));
	say("delete %d", eos_key_delete(TEXT("k")));
	say(" %d\n", eos_key_delete(TEXT("k")));

	memset(buf, 0, 32);
	say("random %d %d\n", eos_random(buf, 32), memcmp(buf, zeros, 32) != 0);
	hex("seal", buf, result(eos_seal_key(), buf, sizeof buf));
	n = result(eos_caller(), buf, sizeof buf);
	say("caller %.*s\n", (int)n, buf);

	say("put %d\n", eos_kv_put(TEXT("a/1"), TEXT("one")));
	say("put %d\n", eos_kv_put(TEXT("a/2"), TEXT("two")));
	n = result(eos_kv_get(TEXT("a/2")), buf, sizeof buf);
	say("get %.*s %d\n", (int)n, buf, eos_kv_get(TEXT("none")));
	n = result(eos_kv_list(TEXT("a/"), TEXT("a/1"), 0), buf, sizeof buf);
	say("list %d %.*s\n", n, (int)n - 4, buf + 4);
	say("delete %d", eos_kv_delete(TEXT("a/1")));
	say(" %d\n", eos_kv_delete(TEXT("a/1")));

	say("extension %d\n", eos_attestation_set(7, TEXT("said")));
	n = result(eos_https_fetch(TEXT("POST"), url, url_len, TEXT("X-One: 1\nX-Two: 2"), TEXT("body")), buf, sizeof buf);
	say("fetch %d %.*s\n", eos_https_status(), (int)n, buf);
	n = result(eos_https_headers(), buf, sizeof buf - 1);
	buf[n < 0 ? 0 : n] = 0;
	say("header %d\n", strstr(buf, "X-Answer: yes\r\n") != NULL);
	say("fetch %d\n", eos_https_fetch(TEXT("GET"), TEXT("https://elsewhere.example/"), 0, 0, 0, 0));
	eos_log(EOS_WARN, TEXT("a line of all"));
	eos_reply(out, at);
}

EOS_EXPORT("refuse()string")
void refuse(void) { eos_fail(TEXT("not today")); }
