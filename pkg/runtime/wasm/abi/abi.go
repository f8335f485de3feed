// Package abi names what a WASM guest may import from the host module "eos":
// functions, their core types, the interface that each belongs to, and the
// error codes. It is data only, so that a builder can refuse an unknown import
// without an engine.
//
// # Calling convention
//
// Pointers and lengths are i32 and unsigned; a (pointer, length) pair names
// bytes of the guest's memory. The host checks every pair against the memory's
// present size on every call and keeps none of them: a guest's memory may grow
// and move between two calls.
//
// A result below zero is one of the Err codes. A function whose doc says
// "result" keeps its output in the host, in the instance's result buffer, and
// returns its length; the guest then makes room and takes the bytes with
// result_read. The buffer holds until the next call of a function that has a
// result.
package abi

// Module is the name under which guests import the host interface.
const Module = "eos"

// ValueType is a core value type as in the binary format.
type ValueType = byte

// Core value types that the interface uses.
const (
	I32 ValueType = 0x7f
	I64 ValueType = 0x7e
)

// An Interface is a group of functions that an app is granted as a whole.
// Functions of the empty interface are for everyone.
type Interface string

const (
	Core        Interface = ""            // results, replies, log
	KV          Interface = "kv"          // the app's own sealed key-value table
	Crypto      Interface = "crypto"      // digests, and keys that stay in the host
	Random      Interface = "random"      // RDRAND
	HTTPS       Interface = "https"       // fetch from hosts of the allow-list
	Seal        Interface = "seal"        // a key of this app in this enclave
	Caller      Interface = "caller"      // who calls
	Attestation Interface = "attestation" // extensions of the app's own certificate
)

// Interfaces are all that can be granted.
var Interfaces = []Interface{KV, Crypto, Random, HTTPS, Seal, Caller, Attestation}

// Error codes, returned in place of a result.
const (
	ErrFault       int32 = -1 // a pointer and length outside the guest's memory
	ErrNotFound    int32 = -2 // no such key, name or record
	ErrDenied      int32 = -3 // not granted, or not on the allow-list
	ErrInvalid     int32 = -4 // an argument that makes no sense
	ErrTooLarge    int32 = -5 // beyond a limit of the interface
	ErrUnavailable int32 = -6 // the store or the network failed
	ErrAuth        int32 = -7 // a ciphertext that is not authentic
	ErrExists      int32 = -8 // the name is taken
	ErrNoRoom      int32 = -9 // the app has stored as much as it may
)

// Algorithms of digest and hmac.
const (
	SHA256 int32 = 1
	SHA384 int32 = 2
	SHA512 int32 = 3
)

// Kinds of keys.
const (
	KeyAES256    int32 = 1 // encrypt, decrypt
	KeyECDSAP256 int32 = 2 // sign, verify: SHA-256, DER signatures
	KeyECDSAP384 int32 = 3 // sign, verify: SHA-384, DER signatures
	KeyHMAC      int32 = 4 // hmac, hmac_verify
)

// Levels of log, as in log/slog.
const (
	LevelDebug int32 = -4
	LevelInfo  int32 = 0
	LevelWarn  int32 = 4
	LevelError int32 = 8
)

// Limits of the interface.
const (
	MaxKey       = 1024      // bytes of a key or key name
	MaxValue     = 512 << 10 // bytes of a value
	MaxExtension = 4096      // bytes of an attestation extension
	MaxLog       = 4096      // bytes of a log line
	MaxRandom    = 64 << 10  // bytes of one call of random
)

// Function is one importable function. All parameters and results are I32.
type Function struct {
	Name      string
	Interface Interface
	Params    []ValueType
	Results   []ValueType
	Doc       string // the parameters in order, then what comes back
}

func f(i Interface, name string, params int, doc string) Function {
	p := make([]ValueType, params)
	for k := range p {
		p[k] = I32
	}
	return Function{Name: name, Interface: i, Params: p, Results: []ValueType{I32}, Doc: doc}
}

// Functions are all functions of the module.
var Functions = []Function{
	f(Core, "result_read", 2, "ptr, len: copies at most len bytes of the result buffer to ptr; returns how many"),
	f(Core, "reply", 2, "ptr, len: these bytes are the call's result (text, bytes or JSON as the function is declared); returns 0"),
	f(Core, "fail", 2, "ptr, len: the call fails with this text, whatever the function returns; returns 0"),
	f(Core, "log", 3, "level, ptr, len: one line to the log; returns 0"),

	f(KV, "kv_get", 2, "key, len: result, the value"),
	f(KV, "kv_put", 4, "key, len, value, len: returns 0 when the value is stored durably"),
	f(KV, "kv_delete", 2, "key, len: returns 1 if there was such a key, else 0"),
	f(KV, "kv_list", 5, "prefix, len, after, len, limit: result, keys with the prefix and behind after in byte order, at most limit (0: 1000), each as u32 little-endian length and bytes"),

	f(Crypto, "digest", 3, "algorithm, data, len: result, the digest"),
	f(Crypto, "key_generate", 3, "kind, name, len: makes and stores a key; returns 0"),
	f(Crypto, "key_import", 5, "kind, name, len, raw, len: stores a key of kind AES-256 (32 bytes) or HMAC (16 to 128 bytes); returns 0"),
	f(Crypto, "key_exists", 2, "name, len: returns 1 or 0"),
	f(Crypto, "key_delete", 2, "name, len: returns 1 if there was such a key, else 0"),
	f(Crypto, "key_public", 2, "name, len: result, the public key as SubjectPublicKeyInfo in DER"),
	f(Crypto, "encrypt", 8, "name, len, nonce, len, aad, len, data, len: AES-256-GCM with a nonce of 12 bytes; result, ciphertext and tag. With a nonce of no bytes the host makes one and puts it in front"),
	f(Crypto, "decrypt", 8, "name, len, nonce, len, aad, len, data, len: the inverse of encrypt, with the nonce in front of data if none is given; result, the plaintext"),
	f(Crypto, "sign", 4, "name, len, data, len: ECDSA over the key's own hash of data; result, the signature in DER"),
	f(Crypto, "verify", 6, "name, len, data, len, signature, len: returns 1 or 0"),
	f(Crypto, "hmac", 5, "algorithm, name, len, data, len: result, the tag"),
	f(Crypto, "hmac_verify", 7, "algorithm, name, len, data, len, tag, len: returns 1 or 0"),

	f(Random, "random", 2, "ptr, len: fills the bytes; returns 0"),

	f(HTTPS, "https_fetch", 8, "method, len, url, len, headers, len, body, len: headers are lines \"Name: value\"; result, the response's body. The status is https_status"),
	f(HTTPS, "https_status", 0, "returns the status of the last https_fetch"),
	f(HTTPS, "https_headers", 0, "result, the headers of the last https_fetch as lines \"Name: value\\r\\n\""),

	f(Seal, "seal_key", 0, "result, 32 bytes: a key of this app's code in this enclave's measurement"),

	f(Caller, "caller", 0, "result, JSON: {\"app\",\"function\",\"role\",\"roles\":[..],\"peer\"}"),

	f(Attestation, "attestation_set", 3, "n, ptr, len: the app's certificate carries these bytes as extension 1.3.6.1.4.1.65230.3.5.n; len 0 takes it out; returns 0"),
}

// Lookup finds a function by name.
func Lookup(name string) (Function, bool) {
	for _, fn := range Functions {
		if fn.Name == name {
			return fn, true
		}
	}
	return Function{}, false
}

// Names under which a guest exports what the host calls.
const (
	// ExportAlloc is (len i32) -> ptr i32: memory for a parameter of type
	// string, bytes or json. A guest without such parameters needs none.
	ExportAlloc = "eos_alloc"
	// Section is the custom section that declares functions with types that
	// core WASM lacks, as JSON: see wasm.Signature.
	Section = "eos.functions"
)
