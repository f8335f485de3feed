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
@external("eos", "key_generate") declare function key_generate(kind: i32, name: usize, len: i32): i32;
@external("eos", "key_import") declare function key_import(kind: i32, name: usize, len: i32, raw: usize, rawLen: i32): i32;
@external("eos", "key_exists") declare function key_exists(name: usize, len: i32): i32;
@external("eos", "key_delete") declare function key_delete(name: usize, len: i32): i32;
@external("eos", "key_public") declare function key_public(name: usize, len: i32): i32;
@external("eos", "encrypt") declare function host_encrypt(name: usize, len: i32, nonce: usize, nonceLen: i32, aad: usize, aadLen: i32, data: usize, dataLen: i32): i32;
@external("eos", "decrypt") declare function host_decrypt(name: usize, len: i32, nonce: usize, nonceLen: i32, aad: usize, aadLen: i32, data: usize, dataLen: i32): i32;
@external("eos", "sign") declare function host_sign(name: usize, len: i32, data: usize, dataLen: i32): i32;
@external("eos", "verify") declare function host_verify(name: usize, len: i32, data: usize, dataLen: i32, signature: usize, signatureLen: i32): i32;
@external("eos", "hmac") declare function host_hmac(algorithm: i32, name: usize, len: i32, data: usize, dataLen: i32): i32;
@external("eos", "hmac_verify") declare function host_hmac_verify(algorithm: i32, name: usize, len: i32, data: usize, dataLen: i32, tag: usize, tagLen: i32): i32;
@external("eos", "random") declare function host_random(ptr: usize, len: i32): i32;
@external("eos", "https_fetch") declare function https_fetch(method: usize, methodLen: i32, url: usize, urlLen: i32, headers: usize, headersLen: i32, body: usize, bodyLen: i32): i32;
@external("eos", "https_status") declare function https_status(): i32;
@external("eos", "https_headers") declare function https_headers(): i32;
@external("eos", "seal_key") declare function seal_key(): i32;
@external("eos", "caller") declare function host_caller(): i32;
@external("eos", "attestation_set") declare function attestation_set(n: i32, value: usize, len: i32): i32;

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
	NoRoom = -9, // the app has stored as much as its manifest allows
}

/** Algorithms of digest and hmac. */
export enum Hash {
	SHA256 = 1,
	SHA384 = 2,
	SHA512 = 3,
}

/** What a key is for. */
export enum KeyKind {
	AES256 = 1, // encrypt, decrypt
	ECDSAP256 = 2, // sign, verify
	ECDSAP384 = 3, // sign, verify
	HMAC = 4, // hmac, verifyHMAC
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

/** For functions that return 1 or 0. */
function yes(code: i32): bool {
	return check(code) && code == 1;
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
	return yes(kv_delete(changetype<usize>(k), k.byteLength));
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

/** Hashes data. */
export function digest(algorithm: Hash, data: ArrayBuffer): ArrayBuffer | null {
	return output(host_digest(algorithm, changetype<usize>(data), data.byteLength));
}

// Keys have names, are the app's own and stay in the host.

/** Makes a key. */
export function generateKey(kind: KeyKind, name: string): bool {
	const k = String.UTF8.encode(name);
	return check(key_generate(kind, changetype<usize>(k), k.byteLength));
}

/** Stores a key of kind AES256 or HMAC. */
export function importKey(kind: KeyKind, name: string, raw: ArrayBuffer): bool {
	const k = String.UTF8.encode(name);
	return check(key_import(kind, changetype<usize>(k), k.byteLength, changetype<usize>(raw), raw.byteLength));
}

/** Says whether there is a key of that name. */
export function hasKey(name: string): bool {
	const k = String.UTF8.encode(name);
	return yes(key_exists(changetype<usize>(k), k.byteLength));
}

/** Deletes a key and says whether there was one. */
export function deleteKey(name: string): bool {
	const k = String.UTF8.encode(name);
	return yes(key_delete(changetype<usize>(k), k.byteLength));
}

/** The public part of a key, a SubjectPublicKeyInfo in DER. */
export function publicKey(name: string): ArrayBuffer | null {
	const k = String.UTF8.encode(name);
	return output(key_public(changetype<usize>(k), k.byteLength));
}

/** Seals data with AES-256-GCM. The nonce, in front of the result, is the host's. */
export function encrypt(key: string, aad: ArrayBuffer, data: ArrayBuffer): ArrayBuffer | null {
	const k = String.UTF8.encode(key);
	return output(host_encrypt(changetype<usize>(k), k.byteLength, 0, 0, changetype<usize>(aad), aad.byteLength, changetype<usize>(data), data.byteLength));
}

/** The inverse of encrypt; null with lastError Auth for what is not authentic. */
export function decrypt(key: string, aad: ArrayBuffer, data: ArrayBuffer): ArrayBuffer | null {
	const k = String.UTF8.encode(key);
	return output(host_decrypt(changetype<usize>(k), k.byteLength, 0, 0, changetype<usize>(aad), aad.byteLength, changetype<usize>(data), data.byteLength));
}

/** Signs data, which the host hashes: the signature in DER. */
export function sign(key: string, data: ArrayBuffer): ArrayBuffer | null {
	const k = String.UTF8.encode(key);
	return output(host_sign(changetype<usize>(k), k.byteLength, changetype<usize>(data), data.byteLength));
}

/** Says whether a signature is one of data. */
export function verify(key: string, data: ArrayBuffer, signature: ArrayBuffer): bool {
	const k = String.UTF8.encode(key);
	return yes(host_verify(changetype<usize>(k), k.byteLength, changetype<usize>(data), data.byteLength, changetype<usize>(signature), signature.byteLength));
}

/** Makes a tag of data. */
export function hmac(algorithm: Hash, key: string, data: ArrayBuffer): ArrayBuffer | null {
	const k = String.UTF8.encode(key);
	return output(host_hmac(algorithm, changetype<usize>(k), k.byteLength, changetype<usize>(data), data.byteLength));
}

/** Says whether a tag is one of data, in constant time. */
export function verifyHMAC(algorithm: Hash, key: string, data: ArrayBuffer, tag: ArrayBuffer): bool {
	const k = String.UTF8.encode(key);
	return yes(host_hmac_verify(algorithm, changetype<usize>(k), k.byteLength, changetype<usize>(data), data.byteLength, changetype<usize>(tag), tag.byteLength));
}

/** Random bytes of the processor. */
export function random(len: i32): ArrayBuffer | null {
	const b = new ArrayBuffer(len);
	return check(host_random(changetype<usize>(b), len)) ? b : null;
}

/** What a server answered to fetch. */
export class Response {
	constructor(
		public status: i32,
		public headers: string[], // "Name: value"
		public body: ArrayBuffer,
	) {}
}

/**
 * Makes an HTTPS request to one of the places that the manifest allows; null with
 * lastError if there is no answer. Headers are lines of "Name: value".
 */
export function fetch(method: string, url: string, headers: string[], body: ArrayBuffer): Response | null {
	const m = String.UTF8.encode(method);
	const u = String.UTF8.encode(url);
	const h = String.UTF8.encode(headers.join("\n"));
	const b = output(https_fetch(changetype<usize>(m), m.byteLength, changetype<usize>(u), u.byteLength,
		changetype<usize>(h), h.byteLength, changetype<usize>(body), body.byteLength));
	if (b == null) return null;
	const status = https_status();
	if (!check(status)) return null;
	const lines = output(https_headers());
	if (lines == null) return null;
	const all = String.UTF8.decode(lines).split("\r\n");
	all.pop(); // behind the last line's end
	return new Response(status, all, b);
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

/**
 * Puts bytes into the app's own certificate, as extension 1.3.6.1.4.1.65230.3.5.n; no
 * bytes take it out.
 */
export function setExtension(n: i32, value: ArrayBuffer): bool {
	return check(attestation_set(n, changetype<usize>(value), value.byteLength));
}
