/* echo returns the text that it is given. See README.md for how it was compiled. */
#define EOS_IMPLEMENTATION
#include "eos.h"

EOS_EXPORT("echo(text:string)string")
void echo(const char *text, int32_t len) { eos_reply(text, len); }
