package fromgo

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// pageMap is an image as a loader has it.
type pageMap struct {
	header sgxs.Record
	pages  map[uint64]sgxs.Page
}

func load(t testing.TB, image []byte) *pageMap {
	t.Helper()
	r := sgxs.NewPageReader(bytes.NewReader(image))
	head, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	m := &pageMap{head, map[uint64]sgxs.Page{}}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		q := *p
		q.Data, q.Order, q.Chunks = slices.Clone(p.Data), nil, nil
		m.pages[p.Offset] = q
	}
}

// read returns n bytes at an address of the enclave.
func (m *pageMap) read(t testing.TB, addr, n uint64) []byte {
	t.Helper()
	var b []byte
	for off := addr - wall.Base; n > 0; {
		p, ok := m.pages[off&^(pageSize-1)]
		if !ok {
			t.Fatalf("no page at %#x", off)
		}
		part := p.Data[off%pageSize:]
		part = part[:min(uint64(len(part)), n)]
		b, off, n = append(b, part...), off+uint64(len(part)), n-uint64(len(part))
	}
	return b
}

// wantPages checks that all pages of a range are there, alike, and zero if they
// are not measured.
func (m *pageMap) wantPages(t testing.TB, what string, lo, hi uint64, flags sgx.SecInfoFlags, measured uint16) {
	t.Helper()
	for a := lo; a < hi; a += pageSize {
		p, ok := m.pages[a-wall.Base]
		switch {
		case !ok:
			t.Fatalf("%s: no page at %#x", what, a)
		case p.Flags != flags || p.Measured != measured || p.Present != measured:
			t.Fatalf("%s: page at %#x is %v, measured %#x, present %#x; want %v, %#x", what, a, p.Flags, p.Measured, p.Present, flags, measured)
		}
	}
}

func (m *pageMap) wantNone(t testing.TB, what string, lo, hi uint64) {
	t.Helper()
	for a := lo; a < hi; a += pageSize {
		if _, ok := m.pages[a-wall.Base]; ok {
			t.Fatalf("%s: page at %#x", what, a)
		}
	}
}

func TestHello(t *testing.T) {
	o := defaults("hello")
	o.Env = []string{"A=b", "EMPTY=", "C=d=e"}
	o.Package = filepath.Join(goapps, o.Package)
	b, err := Prepare(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var out, program bytes.Buffer
	img, err := b.Write(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteTo(&program); err != nil {
		t.Fatal(err)
	}
	image := out.Bytes()

	// The goal of the project for a program of this kind.
	if len(image) > 4<<20 {
		t.Errorf("the image has %d bytes", len(image))
	}
	if mr, err := sgxs.Measure(bytes.NewReader(image)); err != nil || mr != img.MREnclave {
		t.Errorf("MRENCLAVE %v (%v), the image says %v", img.MREnclave, err, mr)
	}

	m := load(t, image)
	boot, err := wall.ParseBoot(m.read(t, wall.Base, wall.BootSize))
	if err != nil {
		t.Fatal(err)
	}
	if *boot != img.Layout.Boot {
		t.Errorf("boot page %+v, want %+v", *boot, img.Layout.Boot)
	}
	if m.header.Size != boot.Size || m.header.SSAFrameSize != wall.SSAFrameSize || boot.Size != img.Layout.Size {
		t.Errorf("ECREATE %+v, boot page has size %#x", m.header, boot.Size)
	}
	if got := string(m.read(t, boot.Env, boot.EnvLen)); got != "A=b\x00EMPTY=\x00C=d=e\x00GOMEMLIMIT=57042480B\x00" {
		t.Errorf("environment %q", got)
	}
	var info Info
	if err := json.Unmarshal(m.read(t, boot.Info, boot.InfoLen), &info); err != nil {
		t.Fatal(err)
	}
	if info.Package != "example.com/hello" || info.Go != runtimeVersion(t) || info.Module.Path != "example.com/hello" || info.HeapSize != DefaultHeapSize {
		t.Errorf("info %+v", info)
	}

	m.wantPages(t, "boot page", wall.Base, wall.Base+pageSize, sgx.SecInfoREGR, 0xffff)
	m.wantPages(t, "code", boot.TextLo&^(pageSize-1), boot.TextHi, sgx.SecInfoREGRX, 0xffff)
	m.wantPages(t, "zero data", boot.ZeroLo, boot.ZeroHi, sgx.SecInfoREGRW, 0)
	m.wantPages(t, "stack", boot.StackLo, boot.StackHi, sgx.SecInfoREGRW, 0)
	m.wantNone(t, "stack's guards", boot.StackLo-pageSize, boot.StackLo)
	m.wantNone(t, "stack's guards", boot.StackHi, boot.StackHi+pageSize)
	m.wantPages(t, "meta", boot.MetaLo, boot.MetaHi, sgx.SecInfoREGRW, 0)
	m.wantPages(t, "heap", boot.HeapLo, boot.HeapEnd, sgx.SecInfoREGRW, 0)
	m.wantNone(t, "heap's addresses", boot.HeapEnd, boot.HeapHi)
	if boot.HeapEnd-boot.HeapLo != DefaultHeapSize || boot.HeapLo%arenaSize != 0 || boot.CodeLo != boot.CodeHi {
		t.Errorf("heap from %#x to %#x, code area from %#x to %#x", boot.HeapLo, boot.HeapEnd, boot.CodeLo, boot.CodeHi)
	}
	for off, p := range m.pages {
		if p.Flags&sgx.SecInfoW != 0 && p.Flags&sgx.SecInfoX != 0 {
			t.Fatalf("page at %#x can be written and executed", off)
		}
	}
	checkThreads(t, m, boot)
	checkProgram(t, m, program.Bytes())
}

func runtimeVersion(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(goroot(t), "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	v, _, _ := strings.Cut(string(b), "\n")
	return v
}

func checkThreads(t *testing.T, m *pageMap, boot *wall.Boot) {
	t.Helper()
	if boot.Threads != DefaultThreads+1 {
		t.Errorf("%d threads", boot.Threads)
	}
	for i := range boot.Threads {
		at := boot.Blocks + i*wall.BlockSize
		m.wantPages(t, "TCS", at, at+1, sgx.SecInfoTCS, 0xffff)
		tcs, err := sgx.ParseTCS(m.pages[at-wall.Base].Data)
		if err != nil {
			t.Fatal(err)
		}
		want := sgx.TCS{
			OSSA: at - wall.Base + 0x1000, NSSA: 2, OEntry: boot.Entry - wall.Base, OGSBase: at - wall.Base + 0x3000,
			FSLimit: 0xffffffff, GSLimit: 0xffffffff,
		}
		if *tcs != want {
			t.Errorf("TCS %d: %+v, want %+v", i, *tcs, want)
		}
		m.wantPages(t, "SSA", at+0x1000, at+0x3000, sgx.SecInfoREGRW, 0)
		m.wantPages(t, "thread area", at+0x3000, at+0x4000, sgx.SecInfoREGRW, 0xffff)
		m.wantNone(t, "guard", at+0x4000, at+0x5000)
		m.wantPages(t, "kernel stack", at+0x5000, at+0x1d000, sgx.SecInfoREGRW, 0)
		m.wantNone(t, "guard", at+0x1d000, at+0x1e000)
		m.wantPages(t, "exception stack", at+0x1e000, at+0x20000, sgx.SecInfoREGRW, 0)
		if !bytes.Equal(m.pages[at+0x3000-wall.Base].Data, make([]byte, pageSize)) {
			t.Errorf("thread area %d is not zero", i)
		}
	}
}

// checkProgram compares the image with the linked program: permissions,
// content, and each relocation.
func checkProgram(t *testing.T, m *pageMap, program []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	rela, err := f.Section(".rela").Data()
	if err != nil {
		t.Fatal(err)
	}
	relocated := map[uint64]uint64{}
	for ; len(rela) > 0; rela = rela[24:] {
		relocated[le.Uint64(rela)] = wall.Base + le.Uint64(rela[16:])
	}
	if len(relocated) < 1000 {
		t.Errorf("%d relocations", len(relocated))
	}
	for off, want := range relocated {
		if got := le.Uint64(m.read(t, wall.Base+off, 8)); got != want {
			t.Fatalf("relocation at %#x: %#x, want %#x", off, got, want)
		}
	}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS || s.Size == 0 || s.Name == ".rela" {
			continue
		}
		want, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for off, to := range relocated {
			if off >= s.Addr && off < s.Addr+s.Size {
				le.PutUint64(want[off-s.Addr:], to)
			}
		}
		if !bytes.Equal(m.read(t, wall.Base+s.Addr, s.Size), want) {
			t.Errorf("section %s differs", s.Name)
		}
		flags := sgx.SecInfoREGR
		switch {
		case s.Flags&elf.SHF_EXECINSTR != 0, s.Name == ".interp": // the linker puts it before the code
			flags = sgx.SecInfoREGRX
		case s.Flags&elf.SHF_WRITE != 0 && !strings.HasPrefix(s.Name, ".data.rel.ro") && s.Name != ".got" && s.Name != ".dynamic":
			flags = sgx.SecInfoREGRW
		}
		if got := m.pages[s.Addr&^(pageSize-1)].Flags; got != flags {
			t.Errorf("section %s has %v, want %v", s.Name, got, flags)
		}
	}
	if f.Entry != m.mustBoot(t).Entry-wall.Base {
		t.Errorf("entry %#x", f.Entry)
	}
}

func (m *pageMap) mustBoot(t *testing.T) *wall.Boot {
	t.Helper()
	b, err := wall.ParseBoot(m.pages[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHTTPSIsSmall(t *testing.T) {
	_, image := mustBuild(t, defaults("https"))
	if len(image) > 10<<20 {
		t.Errorf("the image has %d bytes", len(image))
	}
	if b := load(t, image).mustBoot(t); b.ZeroHi-b.ZeroLo > 4<<20 {
		t.Errorf("%d MiB of zero data: is there a new buffer like the entropy source's?", (b.ZeroHi-b.ZeroLo)>>20)
	}
}

func TestOptionsInImage(t *testing.T) {
	o := defaults("hello")
	o.HeapSize, o.CodeSize, o.Threads, o.Debug = 96<<20, 1<<20, 4, true
	_, image := mustBuild(t, o)
	m := load(t, image)
	b := m.mustBoot(t)
	if b.HeapEnd-b.HeapLo != 96<<20 || b.CodeHi-b.CodeLo != 1<<20 || b.Threads != 5 || b.Flags != wall.BootDebug {
		t.Errorf("boot page %+v", b)
	}
	m.wantPages(t, "code area", b.CodeLo, b.CodeHi, sgx.SecInfoREGRW|sgx.SecInfoX, 0)
}

func TestUnsized(t *testing.T) {
	o := defaults("hello")
	o.Unsized = true
	img, image := mustBuild(t, o)
	if img.Layout.Size != 0 || img.MREnclave != (sgx.Measurement{}) {
		t.Errorf("size %#x, MRENCLAVE %v", img.Layout.Size, img.MREnclave)
	}
	a, err := sgxs.NewAppender(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	done, err := a.Append(&out, []sgxs.Part{{Name: "x", Perm: sgx.SecInfoR, Measured: true, Data: strings.NewReader("hello"), Size: 5}})
	if err != nil {
		t.Fatal(err)
	}
	m := load(t, out.Bytes())
	b := m.mustBoot(t)
	if b.Size != done.Size || m.header.Size != done.Size {
		t.Errorf("size %#x in the boot page and %#x in ECREATE, want %#x", b.Size, m.header.Size, done.Size)
	}
	// Not where the program may reserve addresses.
	if at := wall.Base + done.Placed[0]; at < b.CodeHi || string(m.read(t, at, 5)) != "hello" {
		t.Errorf("appended at %#x: the heap goes to %#x", at, b.HeapHi)
	}
}

// The same source makes the same image, whoever builds it and where.
func TestReproducible(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(goapps, "hello", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	const mod = "module example.com/hello\n\ngo 1.25\n"
	here := tree(t, "main.go", string(src), "go.mod", mod)
	_, first := mustBuild(t, defaults(here))

	// Other files beside it, another place, another user's settings, another
	// cache, another mask, another time zone.
	there := filepath.Join(tree(t, "a b/c/main.go", string(src), "a b/c/go.mod", mod, "a b/c/notes.txt", "x"), "a b", "c")
	home := t.TempDir()
	config := filepath.Join(home, "go.env")
	if err := os.WriteFile(config, []byte("GOFLAGS=-tags=netgo -ldflags=-s\nGOAMD64=v3\nGOEXPERIMENT=arenas\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kv := range []string{"HOME=" + home, "USER=other", "TZ=Asia/Tokyo", "GOENV=" + config, "GOCACHE=" + filepath.Join(home, "cache"), "GOTMPDIR=" + home, "TMPDIR=" + home,
		"GOFLAGS=-mod=mod -tags=x", "GOAMD64=v4", "GODEBUG=gctrace=0", "GOFIPS140=latest", "CGO_ENABLED=1", "GOOS=windows", "GOARCH=arm64", "CGO_CFLAGS=-O0"} {
		key, value, _ := strings.Cut(kv, "=")
		t.Setenv(key, value)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	o := defaults(".")
	o.Dir = there
	_, second := mustBuild(t, o)
	if !bytes.Equal(first, second) {
		t.Fatal("the images differ")
	}
	for _, word := range []string{here, there, home, "eos-build-"} {
		if bytes.Contains(first, []byte(word)) {
			t.Errorf("the image has %q in it", word)
		}
	}
}

// An import path names the same program as its directory.
func TestImportPath(t *testing.T) {
	dir := tree(t, "go.mod", "module example.com/m\n\ngo 1.25\n", "cmd/app/main.go", "package main\n\nfunc main() {}\n")
	o := defaults("example.com/m/cmd/app")
	o.Dir = dir
	_, byPath := mustBuild(t, o)
	o.Package = "./cmd/app"
	_, byDir := mustBuild(t, o)
	if !bytes.Equal(byPath, byDir) {
		t.Error("the images differ")
	}
}

// neighbours are the latest releases of the minor versions before and after that
// of go.mod. They take the network, once.
var neighbours = []string{"go1.25.14", "go1.27.4"}

func TestNeighbouringGo(t *testing.T) {
	for _, version := range neighbours {
		t.Run(version, func(t *testing.T) {
			t.Setenv("GOTOOLCHAIN", version)
			if out, err := exec.Command("go", "env", "GOVERSION").CombinedOutput(); err != nil {
				t.Skipf("%s cannot be had here: %v\n%s", version, err, out)
			}
			for _, app := range []string{"hello", "https"} {
				img, _ := mustBuild(t, defaults(app))
				if img.Info.Go != version {
					t.Errorf("%s built with %s", app, img.Info.Go)
				}
			}
		})
	}
}

func TestOldGo(t *testing.T) {
	t.Setenv("PATH", fakeGo(t, "go1.24.3")+":"+os.Getenv("PATH"))
	if _, err := Prepare(t.Context(), defaults(filepath.Join(goapps, "hello"))); err == nil || !strings.Contains(err.Error(), "go1.24.3 in /go is not supported") {
		t.Errorf("%v", err)
	}
}

// fakeGo makes a go command that says it is of that version.
func fakeGo(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\necho '{\"GOROOT\":\"/go\",\"GOVERSION\":\"" + version + "\",\"GOMODCACHE\":\"/mod\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A build that is given up leaves nothing.
func TestCanceled(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("GOTMPDIR", "")
	t.Setenv("GOCACHE", t.TempDir()) // so that it takes its time
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(tmp, "eos-build-*", "overlay.json")); found != nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Prepare(ctx, defaults(filepath.Join(goapps, "hello"))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
