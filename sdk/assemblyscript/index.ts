// The host of an app, as seen from an AssemblyScript program that runs in an
// enclave of eos. See transform.mjs for how functions are declared, and docs/wasm.md
// for what the host's functions do.
//
// The entry file of a program that has functions with text or bytes among their
// parameters passes on the export that makes room for them:
//
//	export { eos_alloc } from "PATH/sdk/assemblyscript/index";

@external("eos", "result_read") declare function result_read(ptr: usize, len: i32): i32;
@external("eos", "reply") declare function host_reply(ptr: usize, len: i32): i32;
@external("eos", "fail") declare function host_fail(ptr: usize, len: i32): i32;
@external("eos", "log") declare function host_log(level: i32, ptr: usize, len: i32): i32;
@external("eos", "kv_get") declare function kv_get(key: usize, len: i32): i32;
@external("eos", "kv_put") declare function kv_put(key: usize, len: i32, value: usize, valueLen: i32): i32;
@external("eos", "kv_delete") declare function kv_delete(key: usize, len: i32): i32;
@external("eos", "kv_list") declare function kv_list(prefix: usize, len: i32, after: usize, afterLen: i32, limit: i32): i32;
@external("eos", "digest") declare function host_digest(algorithm: i32, ptr: usize, len: i32): i32;
@external("eos", "random") declare function host_random(ptr: usize, len: i32): i32;
@external("eos", "seal_key") declare function seal_key(): i32;
@external("eos", "caller") declare function host_caller(): i32;

/** What the host can answer instead of a result. */
export enum Err {
	Fault = -1, // memory that the guest does not have
	NotFound = -2,
	Denied = -3, // not granted by the manifest
	Invalid = -4,
	TooLarge = -5,
	Unavailable = -6,
	Auth = -7,
	Exists = -8,
}

/** The last code of the host below zero, 0 if the last call went well. */
export let lastError: i32 = 0;

const parameters: ArrayBuffer[] = [];

/** Makes room for a parameter. An instance lives for one call, so nobody frees it. */
export function eos_alloc(len: i32): usize {
	const b = new ArrayBuffer(len);
	parameters.push(b);
	return changetype<usize>(b);
}

/** The text that a parameter points to. */
export function text(ptr: usize, len: i32): string {
	return String.UTF8.decodeUnsafe(ptr, len);
}

/** The bytes that a parameter points to. */
export function bytes(ptr: usize, len: i32): ArrayBuffer {
	const b = new ArrayBuffer(len);
	memory.copy(changetype<usize>(b), ptr, len);
	return b;
}

function check(code: i32): bool {
	lastError = code < 0 ? code : 0;
	return code >= 0;
}

/** Takes the result of a call that has returned its length. */
function output(code: i32): ArrayBuffer | null {
	if (!check(code)) return null;
	const b = new ArrayBuffer(code);
	check(result_read(changetype<usize>(b), code));
	return b;
}

/** Gives text as the result of the call that is being answered. */
export function reply(result: string): void {
	const b = String.UTF8.encode(result);
	host_reply(changetype<usize>(b), b.byteLength);
}

/** Gives bytes as the result of the call that is being answered. */
export function replyBytes(result: ArrayBuffer): void {
	host_reply(changetype<usize>(result), result.byteLength);
}

/** Ends the call that is being answered with an error. */
export function fail(reason: string): void {
	const b = String.UTF8.encode(reason);
	host_fail(changetype<usize>(b), b.byteLength);
}

/** Writes a line to the enclave's log: -4 debug, 0 info, 4 warning, 8 error. */
export function log(level: i32, line: string): void {
	const b = String.UTF8.encode(line);
	host_log(level, changetype<usize>(b), b.byteLength);
}

/** The value under a key, null if there is none or with lastError. */
export function get(key: string): ArrayBuffer | null {
	const k = String.UTF8.encode(key);
	return output(kv_get(changetype<usize>(k), k.byteLength));
}

/** Stores a value; it is durable when this returns true. */
export function put(key: string, value: ArrayBuffer): bool {
	const k = String.UTF8.encode(key);
	return check(kv_put(changetype<usize>(k), k.byteLength, changetype<usize>(value), value.byteLength));
}

/** Deletes a key and says whether there was one. */
export function remove(key: string): bool {
	const k = String.UTF8.encode(key);
	const code = kv_delete(changetype<usize>(k), k.byteLength);
	return check(code) && code == 1;
}

/** The keys that begin with prefix and stand behind after, at most limit (0: 1000). */
export function list(prefix: string, after: string, limit: i32): string[] {
	const p = String.UTF8.encode(prefix);
	const a = String.UTF8.encode(after);
	const keys: string[] = [];
	const b = output(kv_list(changetype<usize>(p), p.byteLength, changetype<usize>(a), a.byteLength, limit));
	if (b == null) return keys;
	const view = new DataView(b);
	let at = 0;
	while (at + 4 <= b.byteLength) {
		const n = view.getUint32(at, true);
		at += 4;
		keys.push(String.UTF8.decodeUnsafe(changetype<usize>(b) + at, n));
		at += n;
	}
	return keys;
}

/** SHA-256 (1), SHA-384 (2) or SHA-512 (3) of data. */
export function digest(algorithm: i32, data: ArrayBuffer): ArrayBuffer | null {
	return output(host_digest(algorithm, changetype<usize>(data), data.byteLength));
}

/** Random bytes of the processor. */
export function random(len: i32): ArrayBuffer | null {
	const b = new ArrayBuffer(len);
	return check(host_random(changetype<usize>(b), len)) ? b : null;
}

/** 32 bytes that only this app's code in this enclave can have. */
export function sealKey(): ArrayBuffer | null {
	return output(seal_key());
}

/** Who made the call that is being answered, in JSON. */
export function caller(): string {
	const b = output(host_caller());
	return b == null ? "" : String.UTF8.decode(b);
}
