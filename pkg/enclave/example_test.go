package enclave_test

import (
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/sgx"
)

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
