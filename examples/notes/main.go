// Notes is a service that keeps short texts in the sealed store of an enclave:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o notes.wasm .
//	eos build -m eos.toml -o notes.sgxs
//
// The host sees neither texts nor names, and cannot change, swap or bring back
// any. eos.toml says who may call what.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	eos "github.com/enclaveos/eos/sdk/go"
)

// prefix keeps notes apart from whatever else the app may store one day.
const prefix = "note/"

//go:wasmexport put(name:string,text:string)string
func put(name, text string) {
	most, err := strconv.Atoi(os.Getenv("MAX_BYTES")) // measured: part of MRENCLAVE
	if err != nil {
		eos.Fail(fmt.Errorf("MAX_BYTES in eos.toml: %w", err))
		return
	}
	switch {
	case name == "":
		eos.Fail(errors.New("a note needs a name"))
		return
	case len(text) > most:
		eos.Fail(fmt.Errorf("a note has at most %d bytes", most))
		return
	}
	if err := eos.Put(prefix+name, text); err != nil {
		eos.Fail(err)
		return
	}
	eos.Reply("stored")
}

//go:wasmexport get(name:string)string
func get(name string) {
	text, err := eos.Get(prefix + name)
	switch {
	case errors.Is(err, eos.ErrNotFound):
		eos.Fail(fmt.Errorf("no note %q", name))
	case err != nil:
		eos.Fail(err)
	default:
		eos.Reply(text)
	}
}

//go:wasmexport list()json
func list() {
	names := []string{}
	for after := ""; ; {
		keys, err := eos.List(prefix, after, 0)
		if err != nil {
			eos.Fail(err)
			return
		}
		if len(keys) == 0 {
			eos.ReplyJSON(names)
			return
		}
		for _, k := range keys {
			names = append(names, strings.TrimPrefix(k, prefix))
		}
		after = keys[len(keys)-1]
	}
}

//go:wasmexport erase(name:string)bool
func erase(name string) bool {
	was, err := eos.Delete(prefix + name)
	if err != nil {
		eos.Fail(err)
	}
	return was
}

func main() {}
