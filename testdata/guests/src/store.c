/* What the sealed store does, as functions. */
#define EOS_IMPLEMENTATION
#include "eos.h"

/* done ends a call that has no result but an error. */
static void done(int32_t code, const char *ok, int32_t len) {
	if (code == EOS_ERR_NOT_FOUND)
		eos_fail("no such key", 11);
	else if (code < 0)
		eos_fail("the host refuses", 16);
	else
		eos_reply(ok, len);
}

EOS_EXPORT("put(key:string,value:string)string")
void put(const char *key, int32_t key_len, const char *value, int32_t value_len) {
	done(eos_kv_put(key, key_len, value, value_len), "stored", 6);
}

EOS_EXPORT("get(key:string)string")
void get(const char *key, int32_t len) {
	int32_t n = eos_kv_get(key, len);
	char *value = eos_alloc(n);
	done(n, value, n < 0 ? 0 : eos_result_read(value, n));
}

EOS_EXPORT("erase(key:string)bool")
int32_t erase(const char *key, int32_t len) { return eos_kv_delete(key, len) == 1; }
