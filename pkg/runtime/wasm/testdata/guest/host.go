package main

import (
	"encoding/json"
	"unsafe"
)

//go:wasmimport eos result_read
func resultRead(a, b uint32) int32

//go:wasmimport eos reply
func reply(a, b uint32) int32

//go:wasmimport eos fail
func fail(a, b uint32) int32

//go:wasmimport eos log
func log(a, b, c uint32) int32

//go:wasmimport eos kv_get
func kvGet(a, b uint32) int32

//go:wasmimport eos kv_put
func kvPut(a, b, c, d uint32) int32

//go:wasmimport eos kv_delete
func kvDelete(a, b uint32) int32

//go:wasmimport eos kv_list
func kvList(a, b, c, d, e uint32) int32

//go:wasmimport eos digest
func digest(a, b, c uint32) int32

//go:wasmimport eos key_generate
func keyGenerate(a, b, c uint32) int32

//go:wasmimport eos key_import
func keyImport(a, b, c, d, e uint32) int32

//go:wasmimport eos key_exists
func keyExists(a, b uint32) int32

//go:wasmimport eos key_delete
func keyDelete(a, b uint32) int32

//go:wasmimport eos key_public
func keyPublic(a, b uint32) int32

//go:wasmimport eos encrypt
func encrypt(a, b, c, d, e, f, g, h uint32) int32

//go:wasmimport eos decrypt
func decrypt(a, b, c, d, e, f, g, h uint32) int32

//go:wasmimport eos sign
func sign(a, b, c, d uint32) int32

//go:wasmimport eos verify
func verify(a, b, c, d, e, f uint32) int32

//go:wasmimport eos hmac
func hmac(a, b, c, d, e uint32) int32

//go:wasmimport eos hmac_verify
func hmacVerify(a, b, c, d, e, f, g uint32) int32

//go:wasmimport eos random
func random(a, b uint32) int32

//go:wasmimport eos https_fetch
func httpsFetch(a, b, c, d, e, f, g, h uint32) int32

//go:wasmimport eos https_status
func httpsStatus() int32

//go:wasmimport eos https_headers
func httpsHeaders() int32

//go:wasmimport eos seal_key
func sealKey() int32

//go:wasmimport eos caller
func caller() int32

//go:wasmimport eos attestation_set
func attestationSet(a, b, c uint32) int32

// calls are the host's functions, each with the number of its parameters.
var calls = map[string]struct {
	n int
	f func(a []uint32) int32
}{
	"result_read":     {2, func(a []uint32) int32 { return resultRead(a[0], a[1]) }},
	"reply":           {2, func(a []uint32) int32 { return reply(a[0], a[1]) }},
	"fail":            {2, func(a []uint32) int32 { return fail(a[0], a[1]) }},
	"log":             {3, func(a []uint32) int32 { return log(a[0], a[1], a[2]) }},
	"kv_get":          {2, func(a []uint32) int32 { return kvGet(a[0], a[1]) }},
	"kv_put":          {4, func(a []uint32) int32 { return kvPut(a[0], a[1], a[2], a[3]) }},
	"kv_delete":       {2, func(a []uint32) int32 { return kvDelete(a[0], a[1]) }},
	"kv_list":         {5, func(a []uint32) int32 { return kvList(a[0], a[1], a[2], a[3], a[4]) }},
	"digest":          {3, func(a []uint32) int32 { return digest(a[0], a[1], a[2]) }},
	"key_generate":    {3, func(a []uint32) int32 { return keyGenerate(a[0], a[1], a[2]) }},
	"key_import":      {5, func(a []uint32) int32 { return keyImport(a[0], a[1], a[2], a[3], a[4]) }},
	"key_exists":      {2, func(a []uint32) int32 { return keyExists(a[0], a[1]) }},
	"key_delete":      {2, func(a []uint32) int32 { return keyDelete(a[0], a[1]) }},
	"key_public":      {2, func(a []uint32) int32 { return keyPublic(a[0], a[1]) }},
	"encrypt":         {8, func(a []uint32) int32 { return encrypt(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]) }},
	"decrypt":         {8, func(a []uint32) int32 { return decrypt(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]) }},
	"sign":            {4, func(a []uint32) int32 { return sign(a[0], a[1], a[2], a[3]) }},
	"verify":          {6, func(a []uint32) int32 { return verify(a[0], a[1], a[2], a[3], a[4], a[5]) }},
	"hmac":            {5, func(a []uint32) int32 { return hmac(a[0], a[1], a[2], a[3], a[4]) }},
	"hmac_verify":     {7, func(a []uint32) int32 { return hmacVerify(a[0], a[1], a[2], a[3], a[4], a[5], a[6]) }},
	"random":          {2, func(a []uint32) int32 { return random(a[0], a[1]) }},
	"https_fetch":     {8, func(a []uint32) int32 { return httpsFetch(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]) }},
	"https_status":    {0, func(a []uint32) int32 { return httpsStatus() }},
	"https_headers":   {0, func(a []uint32) int32 { return httpsHeaders() }},
	"seal_key":        {0, func(a []uint32) int32 { return sealKey() }},
	"caller":          {0, func(a []uint32) int32 { return caller() }},
	"attestation_set": {3, func(a []uint32) int32 { return attestationSet(a[0], a[1], a[2]) }},
}

func addr(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// host does a list of calls, each ["name", argument...]: a number is one i32, a string
// is a pointer and a length, {"$": n} is the result of the n-th call before. It answers
// {"code","result"} for each, where calls with a result have one.
//
//go:wasmexport host(calls:json)json
func host(text string) {
	var list [][]any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		answer(err.Error())
		return
	}
	type result struct {
		Code   int32  `json:"code"`
		Result []byte `json:"result"`
	}
	var out []result
	var keep [][]byte
	for _, c := range list {
		var args []uint32
		bytes := func(b []byte) {
			b = append(make([]byte, 0, len(b)+1), b...)
			keep = append(keep, b)
			args = append(args, addr(b[:cap(b)]), uint32(len(b)))
		}
		for _, a := range c[1:] {
			switch a := a.(type) {
			case float64:
				args = append(args, uint32(int64(a)))
			case string:
				bytes([]byte(a))
			case map[string]any:
				bytes(out[int(a["$"].(float64))].Result)
			}
		}
		f, ok := calls[c[0].(string)]
		if !ok || f.n != len(args) {
			answer(`"no such call, or another number of arguments"`)
			return
		}
		r := result{Code: f.f(args)}
		switch c[0] {
		case "kv_get", "kv_list", "digest", "key_public", "encrypt", "decrypt", "sign", "hmac",
			"https_fetch", "https_headers", "seal_key", "caller":
			if r.Code >= 0 {
				r.Result = make([]byte, r.Code+1)
				n := resultRead(addr(r.Result), uint32(len(r.Result)))
				r.Result = r.Result[:n]
			}
		}
		out = append(out, r)
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	answer(string(b))
}
