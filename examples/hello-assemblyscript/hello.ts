// An app of two functions, for an enclave of eos:
//
//	npx asc hello.ts --transform ../../sdk/assemblyscript/transform.mjs --runtime stub -O -o hello.wasm
import * as eos from "../../sdk/assemblyscript/index";
export { eos_alloc } from "../../sdk/assemblyscript/index";

//eos:export hello(name:string)string
export function hello(name: usize, length: i32): void {
	const who = length > 0 ? eos.text(name, length) : "world";
	eos.reply(`Hello, ${who}, from inside an enclave.`);
}

//eos:export add(a:s32,b:s32)s32
export function add(a: i32, b: i32): i32 {
	return a + b;
}
