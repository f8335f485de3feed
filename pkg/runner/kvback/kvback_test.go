package kvback_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/kvback"
)

// stores are the two kinds of store, for one suite.
func stores(t *testing.T) map[string]*kvback.Store {
	t.Helper()
	disk, err := kvback.Open(filepath.Join(t.TempDir(), "a", "state"))
	if err != nil {
		t.Fatal(err)
	}
	memory, err := kvback.Memory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		disk.Close()
		memory.Close()
	})
	return map[string]*kvback.Store{"disk": disk, "memory": memory}
}

// asker asks a store and holds the status.
type asker struct {
	t *testing.T
	h local
}

func (a asker) ask(m wire.Method, payload []byte, want int32) []byte {
	a.t.Helper()
	status, reply := a.h[m](a.t.Context(), payload)
	if status != want {
		a.t.Fatalf("%#x: status %d, want %d (%q)", uint16(m), status, want, reply)
	}
	return reply
}

func (a asker) put(table, key, value string) {
	a.t.Helper()
	if r := a.ask(kvwire.Put, kvwire.AppendPut(nil, table, []byte(key), []byte(value)), 0); len(r) != 0 {
		a.t.Errorf("%q", r)
	}
}

func (a asker) keys(table, prefix string) string {
	a.t.Helper()
	keys, err := kvwire.ParseKeys(a.ask(kvwire.ListKeys, kvwire.AppendListKeys(nil, table, []byte(prefix)), 0))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(bytes.Join(keys, []byte(" ")))
}

func (a asker) scan(table string, limit uint32, start, end string) string {
	a.t.Helper()
	pairs, err := kvwire.ParsePairs(a.ask(kvwire.Scan, kvwire.AppendScan(nil, table, limit, []byte(start), []byte(end)), 0))
	if err != nil {
		a.t.Fatal(err)
	}
	s := ""
	for _, p := range pairs {
		s += fmt.Sprintf("%s=%s ", p.Key, p.Value)
	}
	return s
}

func TestMethods(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a := asker{t, s.Handlers()}
			a.put("t", "a", "1")
			a.put("t", "ab", "2")
			a.put("t", "b", "")
			a.put("t", "\xff\xff", "3")
			a.put("tt", "a", "4") // a table whose name begins with another's
			a.put("s", "z", "5")
			get := func(table, key string) string {
				return string(a.ask(kvwire.Get, kvwire.AppendGet(nil, table, []byte(key)), 0))
			}
			if get("t", "a") != "1" || get("t", "b") != "" || get("tt", "a") != "4" {
				t.Error("wrong values")
			}
			a.ask(kvwire.Get, kvwire.AppendGet(nil, "t", []byte("c")), kvwire.StatusAbsent)
			a.ask(kvwire.Get, kvwire.AppendGet(nil, "none", []byte("a")), kvwire.StatusAbsent)
			for prefix, want := range map[string]string{"": "a ab b \xff\xff", "a": "a ab", "ab": "ab", "c": "", "\xff": "\xff\xff"} {
				if got := a.keys("t", prefix); got != want {
					t.Errorf("%q: %q, want %q", prefix, got, want)
				}
			}
			for _, c := range []struct {
				limit            uint32
				start, end, want string
			}{
				{0, "", "", "a=1 ab=2 b= \xff\xff=3 "}, {2, "", "", "a=1 ab=2 "}, {0, "ab", "b", "ab=2 "},
				{0, "aa", "", "ab=2 b= \xff\xff=3 "}, {0, "b", "a", ""}, {0, "b\x00", "\xff", ""},
			} {
				if got := a.scan("t", c.limit, c.start, c.end); got != c.want {
					t.Errorf("%+v: %q", c, got)
				}
			}
			values, err := kvwire.ParseValues(a.ask(kvwire.MultiGet, kvwire.AppendMultiGet(nil, "t", [][]byte{[]byte("b"), []byte("c"), []byte("a")}), 0), 3)
			if err != nil || values[0] == nil || values[1] != nil || string(values[2]) != "1" {
				t.Errorf("%q, %v", values, err)
			}
			a.ask(kvwire.WriteBatch, kvwire.AppendWriteBatch(nil, "t", []kvwire.Op{
				{Key: []byte("n"), Value: []byte("x")}, {Key: []byte("n"), Value: []byte("y")}, {Key: []byte("a"), Delete: true}, {Key: []byte("never"), Delete: true},
			}), 0)
			if got := a.scan("t", 0, "", ""); got != "ab=2 b= n=y \xff\xff=3 " {
				t.Errorf("after the batch: %q", got)
			}
			a.ask(kvwire.Delete, kvwire.AppendGet(nil, "t", []byte("n")), 0)
			a.ask(kvwire.Delete, kvwire.AppendGet(nil, "t", []byte("n")), kvwire.StatusAbsent)
			a.ask(kvwire.DeleteRange, kvwire.AppendDeleteRange(nil, "t", []byte("b"), []byte("c")), 0)
			a.ask(kvwire.DeleteRange, kvwire.AppendDeleteRange(nil, "t", []byte("c"), []byte("b")), 0)
			if got := a.keys("t", ""); got != "ab \xff\xff" {
				t.Errorf("after the ranges: %q", got)
			}
			a.ask(kvwire.DeleteRange, kvwire.AppendDeleteRange(nil, "t", nil, nil), 0)
			if a.keys("t", "") != "" || a.keys("tt", "") != "a" || a.keys("s", "") != "z" {
				t.Error("a range of one table is not that table")
			}
		})
	}
}

func TestFiles(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a := asker{t, s.Handlers()}
			a.ask(kvwire.StateGet, []byte("config"), kvwire.StatusAbsent)
			large := bytes.Repeat([]byte("x"), kvwire.MaxFile)
			for _, content := range [][]byte{[]byte("one"), large, {}, []byte("two")} {
				a.ask(kvwire.StatePut, kvwire.AppendStatePut(nil, "config", content), 0)
				if got := a.ask(kvwire.StateGet, []byte("config"), 0); !bytes.Equal(got, content) {
					t.Errorf("%d bytes, want %d", len(got), len(content))
				}
			}
			for _, bad := range []string{"", ".", "..", "../config", "a/b", "Config", "config.next"} {
				a.ask(kvwire.StatePut, kvwire.AppendStatePut(nil, bad, nil), wire.StatusError)
				a.ask(kvwire.StateGet, []byte(bad), wire.StatusError)
			}
			n := 1
			for status := int32(0); status == 0; n++ {
				status, _ = a.h[kvwire.StatePut](t.Context(), kvwire.AppendStatePut(nil, fmt.Sprintf("f%d", n), nil))
			}
			if n > 20 {
				t.Errorf("%d files", n)
			}
		})
	}
}

// TestBadRequests: what does not parse is refused with a text, and changes nothing.
func TestBadRequests(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a := asker{t, s.Handlers()}
			for m := range a.h {
				for _, payload := range [][]byte{nil, {0}, {0, 0}, {1, 0}, []byte("\xff\xffx"), bytes.Repeat([]byte{0xff}, 40)} {
					if status, reply := a.h[m](t.Context(), payload); status != wire.StatusError || len(reply) == 0 {
						t.Errorf("%#x: % x: status %d, %q", uint16(m), payload, status, reply)
					}
				}
			}
			if got := a.keys("t", ""); got != "" {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestLargeAnswers: an answer that would not fit ends early, or is refused.
func TestLargeAnswers(t *testing.T) {
	s := stores(t)["memory"]
	a := asker{t, s.Handlers()}
	value := bytes.Repeat([]byte("v"), kvwire.MaxValue)
	for _, k := range []string{"a", "b"} {
		a.put("t", k, string(value))
	}
	a.ask(kvwire.MultiGet, kvwire.AppendMultiGet(nil, "t", [][]byte{[]byte("a"), []byte("b")}), wire.StatusError)
	pairs, err := kvwire.ParsePairs(a.ask(kvwire.Scan, kvwire.AppendScan(nil, "t", 0, nil, nil), 0))
	if err != nil || len(pairs) != 1 {
		t.Errorf("%d pairs, %v", len(pairs), err)
	}
	var ops []kvwire.Op
	for i := range kvwire.MaxItems + 1 {
		ops = append(ops, kvwire.Op{Key: fmt.Appendf(nil, "%d", i)})
	}
	a.ask(kvwire.WriteBatch, kvwire.AppendWriteBatch(nil, "many", ops), 0)
	keys, err := kvwire.ParseKeys(a.ask(kvwire.ListKeys, kvwire.AppendListKeys(nil, "many", nil), 0))
	if err != nil || len(keys) != kvwire.MaxItems {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s, err := kvback.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	asker{t, s.Handlers()}.put("t", "k", "v")
	asker{t, s.Handlers()}.ask(kvwire.StatePut, kvwire.AppendStatePut(nil, "config", []byte("c")), 0)
	var locked *kvback.LockedError
	if _, err := kvback.Open(dir); !errors.As(err, &locked) || locked.PID != fmt.Sprint(os.Getpid()) {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What a crash leaves while a file is being replaced.
	if err := os.WriteFile(filepath.Join(dir, "sealed", ".next"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = kvback.Open(dir); err != nil {
		t.Fatal(err)
	}
	a := asker{t, s.Handlers()}
	if got := a.ask(kvwire.Get, kvwire.AppendGet(nil, "t", []byte("k")), 0); string(got) != "v" {
		t.Errorf("%q", got)
	}
	if got := a.ask(kvwire.StateGet, []byte("config"), 0); string(got) != "c" {
		t.Errorf("%q", got)
	}
	a.ask(kvwire.StatePut, kvwire.AppendStatePut(nil, "config", []byte("d")), 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir + "/sealed/config", dir + "/lock"} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, i, err)
		}
	}
	info, err := kvback.Inspect(dir)
	if err != nil || info.InUse != nil || info.Records['k'].Count != 1 || len(info.Sealed) != 1 || info.Store == 0 {
		t.Errorf("%+v, %v", info, err)
	}
}
