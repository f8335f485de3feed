package microcode

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func hexOf(k [16]byte) string { return hex.EncodeToString(k[:]) }

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

func open(t *testing.T, dir string) *Device {
	t.Helper()
	d, err := OpenDevice(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOpenDevice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "eos")
	first := open(t, dir)
	path := filepath.Join(dir, DeviceFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := mode(t, path); m != 0o600 {
		t.Errorf("file has mode %04o", m)
	}
	if m := mode(t, dir); m != 0o700 {
		t.Errorf("directory has mode %04o", m)
	}
	if second := open(t, dir); *second.secrets() != *first.secrets() || second.ownerEpoch != first.ownerEpoch {
		t.Error("opened twice, the device is not the same")
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, content) {
		t.Error("the file was written again")
	}
	if other := open(t, t.TempDir()+"/x"); other.secrets().rootKey == first.secrets().rootKey || other.secrets().reportKeyID == first.secrets().reportKeyID {
		t.Error("two devices share a secret")
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != 1 {
		t.Errorf("the directory has %q", names)
	}
	if first.CPUSVN() != currentCPUSVN {
		t.Errorf("CPUSVN is %x", first.CPUSVN())
	}
}

// A directory that is not ours alone but in which nobody else may write, and
// other files in it, are fine.
func TestOpenDeviceInGivenDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "quote.key")
	if err := os.WriteFile(other, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if b, err := os.ReadFile(other); err != nil || string(b) != "x" {
		t.Errorf("the other file is %q, %v", b, err)
	}
	if m := mode(t, dir); m != 0o755 {
		t.Errorf("the directory's mode is now %04o", m)
	}
}

func TestOpenDeviceRefuses(t *testing.T) {
	for _, v := range []struct {
		name  string
		spoil func(dir, path string) error
		what  string
	}{
		{"group may read", func(_, p string) error { return os.Chmod(p, 0o640) }, "chmod 600"},
		{"world may read", func(_, p string) error { return os.Chmod(p, 0o604) }, "chmod 600"},
		{"group may write", func(_, p string) error { return os.Chmod(p, 0o620) }, "chmod 600"},
		{"directory writable", func(d, _ string) error { return os.Chmod(d, 0o777) }, "chmod 700"},
		{"empty", func(_, p string) error { return os.Truncate(p, 0) }, "not a device key"},
		{"short", func(_, p string) error { return os.Truncate(p, deviceFileSize-1) }, "127 bytes, want 128"},
		{"header only", func(_, p string) error { return os.Truncate(p, 18) }, "cut off"},
		{"long", func(_, p string) error { return os.Truncate(p, deviceFileSize+1) }, "129 bytes, want 128"},
		{"huge", func(_, p string) error { return os.Truncate(p, 1<<40) }, "129 bytes, want 128"},
		{"zeros", func(_, p string) error { return os.WriteFile(p, make([]byte, deviceFileSize), 0o600) }, "not a device key"},
		{"a directory", func(_, p string) error { os.Remove(p); return os.Mkdir(p, 0o700) }, "not a regular file"},
		{"a link", func(d, p string) error {
			os.Rename(p, filepath.Join(d, "x"))
			return os.Symlink("x", p)
		}, "symbolic link"},
		{"a dangling link", func(_, p string) error { os.Remove(p); return os.Symlink("nowhere", p) }, "symbolic link"},
	} {
		dir := filepath.Join(t.TempDir(), "eos")
		path := filepath.Join(dir, DeviceFile)
		open(t, dir)
		content, _ := os.ReadFile(path)
		if err := v.spoil(dir, path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.Lstat(path)
		_, err := OpenDevice(dir)
		if err == nil || !strings.HasPrefix(err.Error(), "device key: ") || !strings.Contains(err.Error(), v.what) {
			t.Errorf("%s: error is %v, want %q", v.name, err, v.what)
			continue
		}
		if strings.Contains(err.Error(), hex.EncodeToString(content[32:40])) {
			t.Errorf("%s: the seed is in the error", v.name)
		}
		if after, _ := os.Lstat(path); after.Size() != before.Size() || after.Mode() != before.Mode() {
			t.Errorf("%s: the file was changed", v.name)
		}
	}
	if _, err := OpenDevice(""); err == nil {
		t.Error("no directory is accepted")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDevice(file); err == nil {
		t.Error("a file is accepted as a directory")
	}
	if _, err := OpenDevice(filepath.Join(file, "x")); err == nil {
		t.Error("a directory below a file is accepted")
	}
}

// raceDir, if set, makes the test binary open the device there and print its
// report key id: the child of TestOpenDeviceRace.
const raceDir = "EOS_TEST_DEVICE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(raceDir); dir != "" {
		d, err := OpenDevice(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%x\n", d.secrets().reportKeyID)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Of processes that come first together, one makes the device and all use it.
func TestOpenDeviceRace(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		dir := filepath.Join(t.TempDir(), "a", "b")
		var cmds [8]*exec.Cmd
		var out [len(cmds)]bytes.Buffer
		for i := range cmds {
			c := exec.Command(exe)
			c.Env = append(os.Environ(), raceDir+"="+dir)
			c.Stdout, c.Stderr = &out[i], &out[i]
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			cmds[i] = c
		}
		for i, c := range cmds {
			if err := c.Wait(); err != nil {
				t.Errorf("process %d: %v: %s", i, err, out[i].String())
			}
		}
		want := fmt.Sprintf("%x\n", open(t, dir).secrets().reportKeyID)
		for i := range out {
			if out[i].String() != want {
				t.Errorf("process %d has device %s, want %s", i, out[i].String(), want)
			}
		}
		if names, _ := os.ReadDir(dir); len(names) != 1 {
			t.Errorf("left over: %v", names)
		}
	}
}

// No way of printing a device shows a secret.
func TestDeviceIsNotPrinted(t *testing.T) {
	d := NewDevice([SeedSize]byte{1, 2, 3})
	holder := struct {
		D  Device
		P  *Device
		d  any
		up map[string]*Device
	}{*d, d, d, map[string]*Device{"x": d}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%08b", "%t"} {
		for _, v := range []any{d, *d, holder, &holder} {
			s := fmt.Sprintf(verb, v)
			for _, secret := range [][]byte{d.secrets().rootKey[:4], d.secrets().sealFuses[:4], d.secrets().reportKeyID[:4]} {
				for _, form := range []string{"%x", "%X", "%v", "%d", "%#v", "%q", "%s"} {
					// A slice's text without its brackets also finds arrays.
					text := strings.Trim(fmt.Sprintf(form, secret), "[]{}byte\"")
					if len(text) > 6 && strings.Contains(s, text) {
						t.Fatalf("%s of %T shows a secret: %s", verb, v, s)
					}
				}
			}
		}
	}
	if s := fmt.Sprint(d); s != "software SGX device, CPUSVN 01000000000000000000000000000000" {
		t.Errorf("prints %q", s)
	}
}

func testFile() *deviceFile {
	return &deviceFile{seed: [SeedSize]byte{1, 31: 2}, cpuSVN: currentCPUSVN, ownerEpoch: [16]byte{3, 15: 4}}
}

func TestDeviceFile(t *testing.T) {
	b := testFile().bytes()
	f, err := parseDeviceFile(b[:])
	if err != nil || *f != *testFile() {
		t.Fatalf("%v, %v", f, err)
	}
	for n := range b {
		if _, err := parseDeviceFile(b[:n]); err == nil {
			t.Errorf("the first %d bytes parse", n)
		}
	}
	if _, err := parseDeviceFile(append(b[:], 0)); err == nil {
		t.Error("a longer file parses")
	}
	for i := range b {
		c := b
		c[i] ^= 0x40
		if _, err := parseDeviceFile(c[:]); err == nil {
			t.Errorf("byte %d can be changed", i)
		}
	}
	for what, f := range map[string]*deviceFile{
		"seed is zero": {cpuSVN: currentCPUSVN},
		"CPUSVN ff":    {seed: [SeedSize]byte{1}, cpuSVN: [16]byte{0xff}},
	} {
		b := f.bytes()
		if _, err := parseDeviceFile(b[:]); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	reserved := b
	reserved[31] = 1
	sum := sha256.Sum256(reserved[:96])
	copy(reserved[96:], sum[:])
	if _, err := parseDeviceFile(reserved[:]); err == nil || err.Error() != "reserved bytes are not zero" {
		t.Errorf("reserved byte: %v", err)
	}
	le.PutUint32(b[16:], 2)
	if _, err := parseDeviceFile(b[:]); err == nil || !strings.Contains(err.Error(), "version 2, this program knows version 1") {
		t.Errorf("version 2: %v", err)
	}
}

func FuzzDeviceFile(f *testing.F) {
	b := testFile().bytes()
	f.Add(b[:])
	f.Add(b[:40])
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := parseDeviceFile(in)
		if err != nil {
			return
		}
		if out := v.bytes(); !bytes.Equal(out[:], in) {
			t.Errorf("%x becomes %x", in, out)
		}
	})
}

// FuzzEGetKey: any 512 bytes give a key, a code or a fault, and only one.
func FuzzEGetKey(f *testing.F) {
	for _, name := range allKeys {
		b, _ := newAsker(name).kr.AppendBinary(nil)
		f.Add(b)
	}
	a := newAsker(0)
	dev := newDevice(&a.dev)
	f.Fuzz(func(t *testing.T, in []byte) {
		key, code, fault := EGetKey(dev, &a.e, in)
		n := 0
		for _, b := range []bool{key != [16]byte{}, code != 0, fault != nil} {
			if b {
				n++
			}
		}
		if n != 1 {
			t.Errorf("key %x, code %v, fault %v", key, code, fault)
		}
	})
}
