package enclave_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/sgx"
)

// A batch of requests to the host, with one ring of its doorbell, and the responses as
// they come.
func ExampleChannel() {
	c, err := enclave.OpenChannel()
	if errors.Is(err, enclave.ErrNotEnclave) {
		fmt.Println("nobody to ring:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	const store wire.Method = 0x7001 // one of the host's goenclave.Options.Handle
	var batch []byte
	items := []string{"one", "two", "three"}
	for i, item := range items {
		batch = wire.AppendRequest(batch, wire.Request{ID: uint64(i)<<8 | wire.IDProgram, Method: store, Payload: []byte(item)})
	}
	if err := c.Ring(batch); err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	buf := make([]byte, 4096)
	for range items {
		b, err := c.Wait(ctx, buf)
		if err != nil {
			fmt.Println(err)
			return
		}
		r, fault := wire.ParseResponse(b) // the host's word, to be checked
		fmt.Println(r.ID>>8, r.Status, fault)
	}
	// Output:
	// nobody to ring: not inside an enclave: build the program with 'eos build' and start it with 'eos run'
}

// A secret is kept outside between two runs of the same image.
func Example() {
	additional := []byte("session key") // what the blob is for
	blob, err := enclave.Seal(sgx.PolicyMREnclave, []byte("open sesame"), additional)
	if errors.Is(err, enclave.ErrNotEnclave) {
		fmt.Println("no secrets here:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	// ... store the blob anywhere, and read it back ...
	secret, err := enclave.Unseal(blob, additional)
	fmt.Println(string(secret), err)
	// Output:
	// no secrets here: not inside an enclave: build the program with 'eos build' and start it with 'eos run'
}
