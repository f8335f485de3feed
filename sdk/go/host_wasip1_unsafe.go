//go:build wasip1

package eos

import "unsafe"

// memory keeps what eos_alloc has given to the host from the collector: an
// instance lives for a call, and so do the parameters of it.
var memory [][]byte

//go:wasmexport eos_alloc
func alloc(size uint32) unsafe.Pointer {
	b := make([]byte, max(size, 1))
	memory = append(memory, b)
	return unsafe.Pointer(&b[0])
}

//go:wasmimport eos result_read
func resultReadRaw(ptr unsafe.Pointer, size uint32) int32

func resultRead(b []byte) int32 {
	return resultReadRaw(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

//go:wasmimport eos reply
func reply(s string) int32

//go:wasmimport eos fail
func fail(s string) int32

//go:wasmimport eos log
func log(level int32, s string) int32

//go:wasmimport eos kv_get
func kvGet(key string) int32

//go:wasmimport eos kv_put
func kvPut(key string, value string) int32

//go:wasmimport eos kv_delete
func kvDelete(key string) int32

//go:wasmimport eos kv_list
func kvList(prefix string, after string, limit int32) int32

//go:wasmimport eos digest
func digest(algorithm int32, data string) int32

//go:wasmimport eos key_generate
func keyGenerate(kind int32, name string) int32

//go:wasmimport eos key_import
func keyImport(kind int32, name string, raw string) int32

//go:wasmimport eos key_exists
func keyExists(name string) int32

//go:wasmimport eos key_delete
func keyDelete(name string) int32

//go:wasmimport eos key_public
func keyPublic(name string) int32

//go:wasmimport eos encrypt
func encrypt(name string, nonce string, aad string, data string) int32

//go:wasmimport eos decrypt
func decrypt(name string, nonce string, aad string, data string) int32

//go:wasmimport eos sign
func sign(name string, data string) int32

//go:wasmimport eos verify
func verify(name string, data string, signature string) int32

//go:wasmimport eos hmac
func hmac(algorithm int32, name string, data string) int32

//go:wasmimport eos hmac_verify
func hmacVerify(algorithm int32, name string, data string, tag string) int32

//go:wasmimport eos random
func randomRaw(ptr unsafe.Pointer, size uint32) int32

func random(b []byte) int32 { return randomRaw(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))) }

//go:wasmimport eos https_fetch
func httpsFetch(method string, url string, headers string, body string) int32

//go:wasmimport eos https_status
func httpsStatus() int32

//go:wasmimport eos https_headers
func httpsHeaders() int32

//go:wasmimport eos seal_key
func sealKey() int32

//go:wasmimport eos caller
func caller() int32

//go:wasmimport eos attestation_set
func attestationSet(n int32, value string) int32
