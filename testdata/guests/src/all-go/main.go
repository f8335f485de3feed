// Every function of the host once, as all.c and all.ts have it too: the three must give
// the same answer.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	eos "github.com/enclaveos/eos/sdk/go"
)

func main() {}

// code is what the host answered.
func code(err error) int {
	for i, e := range []error{nil, eos.ErrFault, eos.ErrNotFound, eos.ErrDenied, eos.ErrInvalid, eos.ErrTooLarge, eos.ErrUnavailable, eos.ErrAuth, eos.ErrExists} {
		if errors.Is(err, e) {
			return -i
		}
	}
	return -100
}

func bit(yes bool, err error) int {
	if err != nil {
		return code(err)
	}
	if yes {
		return 1
	}
	return 0
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

//go:wasmexport all(url:string)string
func all(url string) {
	var out strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	data := []byte("data")

	say("digest %x", must(eos.Digest(eos.SHA384, []byte("abc"))))
	say("has %d", bit(eos.HasKey("k")))
	say("generate %d %d", code(eos.GenerateKey(eos.AES256, "k")), code(eos.GenerateKey(eos.AES256, "k")))
	say("has %d", bit(eos.HasKey("k")))
	sealed := must(eos.Encrypt("k", []byte("aad"), data))
	say("encrypt %d %s", len(sealed), must(eos.Decrypt("k", []byte("aad"), sealed)))
	_, err := eos.Decrypt("k", []byte("other"), sealed)
	say("decrypt %d", code(err))
	say("generate %d", code(eos.GenerateKey(eos.ECDSAP256, "s")))
	signature := must(eos.Sign("s", data))
	say("verify %d %d", bit(eos.Verify("s", data, signature)), bit(eos.Verify("s", []byte("other"), signature)))
	say("public %d", len(must(eos.PublicKey("s"))))
	say("import %d", code(eos.ImportKey(eos.HMACKey, "h", make([]byte, 32))))
	tag := must(eos.HMAC(eos.SHA256, "h", data))
	say("hmac %x", tag)
	good := bit(eos.VerifyHMAC(eos.SHA256, "h", data, tag))
	tag[0] ^= 1
	say("verify %d %d", good, bit(eos.VerifyHMAC(eos.SHA256, "h", data, tag)))
	say("delete %d %d", bit(eos.DeleteKey("k")), bit(eos.DeleteKey("k")))

	random := make([]byte, 32)
	say("random %d %d", code(eos.Random(random)), bit(!bytes.Equal(random, make([]byte, 32)), nil))
	say("seal %x", must(eos.SealKey()))
	say("caller %s", must(json.Marshal(must(eos.CallerOf()))))

	say("put %d", code(eos.Put("a/1", "one")))
	say("put %d", code(eos.Put("a/2", "two")))
	two := must(eos.Get("a/2"))
	_, err = eos.Get("none")
	say("get %s %d", two, code(err))
	keys := must(eos.List("a/", "a/1", 0))
	say("list %d %s", 4+len(keys[0]), strings.Join(keys, " "))
	say("delete %d %d", bit(eos.Delete("a/1")), bit(eos.Delete("a/1")))

	say("extension %d", code(eos.SetExtension(7, []byte("said"))))
	answer := must(eos.Fetch("POST", url, []string{"X-One: 1", "X-Two: 2"}, []byte("body")))
	say("fetch %d %s", answer.Status, answer.Body)
	say("header %d", bit(slices.Contains(answer.Headers, "X-Answer: yes"), nil))
	_, err = eos.Fetch("GET", "https://elsewhere.example/", nil, nil)
	say("fetch %d", code(err))
	eos.Log(eos.LevelWarn, "a line of all")
	eos.Reply(out.String())
}

//go:wasmexport refuse()string
func refuse() { eos.Fail(errors.New("not today")) }
