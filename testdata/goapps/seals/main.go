// Seals does what its first argument says with package enclave. Blobs and reports
// are hexadecimal on the command line and on stdout.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/sgx"
)

func main() {
	if err := act(os.Args[1], append(os.Args[2:], "", "", "")); err != nil {
		fmt.Fprintf(os.Stderr, "%v (%T)\n", err, err)
		os.Exit(1)
	}
}

func act(what string, args []string) error {
	switch what {
	case "inside":
		fmt.Println(enclave.Inside())
	case "payload":
		p, err := enclave.Payload()
		if err != nil {
			return err
		}
		fmt.Printf("%d bytes: %.20s %x\n", len(p), p, sha256.Sum256(p))
	case "self":
		s, err := enclave.Self()
		if err != nil {
			return err
		}
		fmt.Println(s.MREnclave, s.MRSigner, s.ISVProdID, s.ISVSVN)
	case "target":
		ti, err := enclave.TargetInfo()
		if err != nil {
			return err
		}
		return printHex(ti.AppendBinary(nil))
	case "report": // TARGETINFO REPORTDATA
		ti, err := sgx.ParseTargetInfo(unhex(args[0]))
		if err != nil {
			return err
		}
		var data [64]byte
		copy(data[:], args[1])
		r, err := enclave.Report(ti, data)
		if err != nil {
			return err
		}
		return printHex(r.AppendBinary(nil))
	case "verify": // REPORT
		r, err := sgx.ParseReport(unhex(args[0]))
		if err != nil {
			return err
		}
		if err := enclave.Verify(r); err != nil {
			return err
		}
		fmt.Printf("%v says %s\n", r.Body.MREnclave, r.Body.ReportData[:5])
	case "seal": // POLICY PLAINTEXT ADDITIONAL
		policy := map[string]sgx.KeyPolicy{"mrenclave": sgx.PolicyMREnclave, "mrsigner": sgx.PolicyMRSigner}[args[0]]
		return printHex(enclave.Seal(policy, []byte(args[1]), []byte(args[2])))
	case "unseal": // BLOB ADDITIONAL
		b, err := enclave.Unseal(unhex(args[0]), []byte(args[1]))
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", b)
	case "key": // KEYNAME
		_, err := enclave.Key(&sgx.KeyRequest{KeyName: sgx.KeyName(len(args[0])), KeyID: [32]byte{1}})
		return err
	case "many": // seals and opens on many threads at once
		return many()
	case "stats":
		return stats()
	default:
		return fmt.Errorf("no such act: %s", what)
	}
	return nil
}

func printHex(b []byte, err error) error {
	if err == nil {
		fmt.Printf("%x\n", b)
	}
	return err
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func many() error {
	errs := make(chan error)
	const n = 8
	for i := range n {
		go func() {
			var err error
			for j := 0; j < 50 && err == nil; j++ {
				text, policy := fmt.Sprint(i, j), sgx.PolicyMREnclave<<(j%2)
				var b, got []byte
				if b, err = enclave.Seal(policy, []byte(text), nil); err != nil {
					break
				}
				if got, err = enclave.Unseal(b, nil); err == nil && string(got) != text {
					err = fmt.Errorf("%q comes back as %q", text, got)
				}
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	fmt.Println("all opened")
	return nil
}

func stats() error {
	before, err := enclave.ReadStats()
	if err != nil {
		return err
	}
	held := make([]byte, 8<<20)
	for i := range held {
		held[i] = 1
	}
	after, err := enclave.ReadStats()
	if err != nil {
		return err
	}
	if before.Threads < 1 || after.Threads > after.ThreadsMax || after.Heap > after.HeapMax || after.Heap < before.Heap+uint64(len(held)) {
		return fmt.Errorf("%+v, and after %d bytes %+v", before, len(held), after)
	}
	fmt.Println("stats are sound")
	return nil
}
