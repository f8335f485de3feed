/* Functions whose code has instructions of WebAssembly 2.0: vectors, and memory.copy
 * and memory.fill, which clang makes of memcpy and memset. */
#define EOS_IMPLEMENTATION
#include "eos.h"

#include <string.h>
#include <wasm_simd128.h>

EOS_EXPORT("dot(a:s32,b:s32)s32")
int32_t dot(int32_t a, int32_t b) {
	v128_t x = wasm_i32x4_make(a, a + 1, a + 2, a + 3), y = wasm_i32x4_splat(b);
	v128_t p = wasm_i32x4_mul(x, y);
	return wasm_i32x4_extract_lane(p, 0) + wasm_i32x4_extract_lane(p, 1) + wasm_i32x4_extract_lane(p, 2) + wasm_i32x4_extract_lane(p, 3);
}

EOS_EXPORT("twice(text:string)string")
void twice(const char *text, int32_t len) {
	char *both = eos_alloc(2 * len + 1);
	memset(both, '-', 2 * (size_t)len + 1);
	memcpy(both, text, len);
	memcpy(both + len + 1, text, len);
	eos_reply(both, 2 * len + 1);
}
