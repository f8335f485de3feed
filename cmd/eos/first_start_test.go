package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/seal"
	"github.com/enclaveos/eos/pkg/sgx"
)

// openSealer is a processor whose seal is none.
type openSealer struct{}

func (openSealer) Seal(policy sgx.KeyPolicy, text, _ []byte) ([]byte, error) {
	return (&enclave.Blob{Policy: policy, Flags: sgx.AttrInit, Identity: sgx.Measurement{1}, Ciphertext: text}).AppendBinary(nil)
}

func (openSealer) Unseal(blob, _ []byte) ([]byte, error) {
	b, err := enclave.ParseBlob(blob)
	if err != nil {
		return nil, err
	}
	return b.Ciphertext, nil
}

// cutOff is a host that is killed at one of the writes it is asked for.
type cutOff struct {
	hostCalls
	left int
	does bool // that one still happens
}

var errKilled = errors.New("killed")

func (c *cutOff) Call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	switch m {
	case kvwire.StatePut, kvwire.Commit, kvwire.WriteBatch, kvwire.DeleteRange:
		if c.left--; c.left < 0 || c.left == 0 && !c.does {
			return nil, errKilled
		}
		if c.left == 0 {
			_, _ = c.hostCalls.Call(ctx, m, payload)
			return nil, errKilled
		}
	}
	return c.hostCalls.Call(ctx, m, payload)
}

// startOnce is eos run and its runtime, until the state is open; it returns the
// operator that is sealed.
func startOnce(t *testing.T, dir string, left int, does bool) (string, error) {
	t.Helper()
	host, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	first, err := isFirst(dir, host)
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	operator, err := (&runtimeFlags{}).operatorHash(&ui{stderr: &errs}, dir, first)
	if err != nil {
		t.Fatal(err)
	}
	b := kvstore.Remote(&cutOff{host.Handlers(), left, does})
	s, err := seal.OpenWith(t.Context(), b, openSealer{}, kvstore.Options{}, func(sections map[string][]byte) error {
		sections["operator"] = []byte(operator)
		return nil
	})
	if err != nil {
		return "", err
	}
	return string(s.Sections()["operator"]), s.Close(t.Context())
}

// TestFirstStartCutOff kills the host at each write of a first start: whoever starts
// again has an operator, and the token for it.
func TestFirstStartCutOff(t *testing.T) {
	for _, does := range []bool{false, true} {
		for _, moved := range []bool{false, true} { // the token, as the hint says
			for n, ended := 1, false; !ended; n++ {
				dir := filepath.Join(t.TempDir(), "app.state")
				_, err := startOnce(t, dir, n, does)
				if ended = err == nil; !ended && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				tokens := []string{readTokenFile(t, dir)}
				if moved {
					if err := os.Remove(filepath.Join(dir, tokenFile)); err != nil {
						t.Fatal(err)
					}
				}
				operator, err := startOnce(t, dir, 1000, false)
				if err != nil {
					t.Fatalf("write %d, done %v: %v", n, does, err)
				}
				tokens = append(tokens, readTokenFile(t, dir))
				if operator == "" || operator != tokens[0] && operator != tokens[1] {
					t.Errorf("write %d, done %v, token moved %v: nobody has the operator's token", n, does, moved)
				}
				if n > 20 {
					t.Fatal("it never ends")
				}
			}
		}
	}
}

// readTokenFile returns the hash of the token in a state directory, "" if there is none.
func readTokenFile(t *testing.T, dir string) string {
	t.Helper()
	token, err := readToken(filepath.Join(dir, tokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// TestWriteNew: a file is there whole or not at all, and never in the place of another.
func TestWriteNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path+".new", []byte("what a crash has left"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(path, []byte("second"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "first" {
		t.Errorf("%q, %v", b, err)
	}
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(names) != 1 {
		t.Errorf("%v are left, %v", names, err)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", i, err)
	}
}
