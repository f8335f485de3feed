package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/enclave"
	"github.com/enclaveos/eos/pkg/runner/kvback"
	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/rpc"
	"github.com/enclaveos/eos/pkg/sgx"
)

// hostCalls is the RPC channel without the channel.
type hostCalls map[wire.Method]func(context.Context, []byte) (int32, []byte)

func (h hostCalls) Call(ctx context.Context, m wire.Method, payload []byte) ([]byte, error) {
	status, reply := h[m](ctx, payload)
	if status != wire.StatusOK {
		return nil, &rpc.StatusError{Method: m, Status: status, Payload: reply}
	}
	return reply, nil
}

// makeState makes a state directory as an enclave with that blob would.
func makeState(t *testing.T, blob *enclave.Blob) (string, *kvback.Store) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.state")
	host, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := kvstore.Remote(hostCalls(host.Handlers()))
	var master [kvstore.KeySize]byte
	if err := kvstore.Create(t.Context(), b, master); err != nil {
		t.Fatal(err)
	}
	s, err := kvstore.Open(t.Context(), b, master, kvstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"one", "two"} {
		if err := s.Table("t").Put(t.Context(), []byte(k), []byte("a secret value")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw, err := blob.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PutFile(t.Context(), "config", raw); err != nil {
		t.Fatal(err)
	}
	return dir, host
}

func eosOut(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(append([]string{"eos"}, args...), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

func TestState(t *testing.T) {
	dir, host := makeState(t, &enclave.Blob{
		Policy: sgx.PolicyMREnclave, ISVProdID: 7, ISVSVN: 3, Flags: sgx.AttrInit | sgx.AttrMode64Bit,
		Identity: sgx.Measurement{0xab, 31: 0xcd}, Ciphertext: []byte("sealed"),
	})
	out, errs, code := eosOut(t, "state", dir)
	for _, want := range []string{"in use by process", "MRENCLAVE", "ab0000", "ISVSVN", "not counted: the store is locked", "commit "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("in use: exit %d, %q is missing in:\n%s%s", code, want, out, errs)
		}
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	out, errs, code = eosOut(t, "state", dir)
	for _, want := range []string{"not in use", "values       2, ", "log          2, "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, %q is missing in:\n%s%s", code, want, out, errs)
		}
	}
	if !strings.Contains(errs, "on the machine where it was made") {
		t.Error(errs)
	}
	out, _, code = eosOut(t, "state", "--json", dir)
	var d stateDescription
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
		t.Fatal(err)
	}
	if d.InUse || d.Config.Policy != "MRENCLAVE" || d.Config.Version != 1 || d.Config.ISVProdID != 7 || d.Root.Commit != 2 || d.Records["values"].Count != 2 {
		t.Errorf("%s", out)
	}
	if strings.Contains(out, "secret") {
		t.Error("a secret is shown")
	}
	for name, content := range snapshot(t, dir) {
		if was, ok := before[name]; name != "lock" && (!ok || was != content) {
			t.Errorf("%s: changed", name)
		}
	}
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"*", "sealed/*", "store/*.log", "store/*.sst"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil {
				files[strings.TrimPrefix(n, dir+"/")] = string(b)
			}
		}
	}
	return files
}

func TestStateOfSigner(t *testing.T) {
	dir, host := makeState(t, &enclave.Blob{Policy: sgx.PolicyMRSigner, Flags: sgx.AttrInit, Identity: sgx.Measurement{1}})
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if out, _, code := eosOut(t, "state", dir); code != 0 || !strings.Contains(out, "no runtime opens that") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "sealed", "config"), []byte("no blob"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "sealed", "root"), 10); err != nil {
		t.Fatal(err)
	}
	if out, _, code := eosOut(t, "state", dir); code != 0 || !strings.Contains(out, "sealed blob: offset 7") || !strings.Contains(out, "sealed root: 10 bytes") {
		t.Errorf("exit %d\n%s", code, out)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "store", "MANIFEST*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	for _, m := range manifests {
		if err := os.Remove(m); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := eosOut(t, "state", dir)
	if code != 0 || !strings.Contains(out, "no such file") || !strings.Contains(out, "sealed root: 10 bytes") || !strings.Contains(errs, "restore a backup") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if out, _, code := eosOut(t, "state", "--json", dir); code != 0 || !strings.Contains(out, `"store_error"`) {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestNoState(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		if out, errs, code := eosOut(t, "state", dir); code != exitError || out != "" || !strings.Contains(errs, "hint: ") {
			t.Errorf("exit %d, %q, %q", code, out, errs)
		}
	}
	if _, errs, code := eosOut(t, "state"); code != exitUsage {
		t.Errorf("exit %d, %q", code, errs)
	}
}

// TestStateDirInUse: two enclaves cannot have one directory.
func TestStateDirInUse(t *testing.T) {
	dir, host := makeState(t, &enclave.Blob{Policy: sgx.PolicyMREnclave, Flags: sgx.AttrInit, Identity: sgx.Measurement{1}})
	if _, err := kvback.Open(dir); err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Error(err)
	}
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hostCalls(again.Handlers()).Call(t.Context(), kvwire.StateGet, []byte("config")); err != nil {
		t.Error(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}
