package kernel_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"slices"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/wall"
)

// The wall, as the code says it and as the image has it: four ways in, one OCALL
// with its kinds, and three ENCLUs: EEXIT, EEXIT of the exception handler, and
// the reports and keys.
func TestBoundary(t *testing.T) {
	src, err := wall.Source.ReadFile("wall.go")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "wall.go", src, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if typ, ok := v.Type.(*ast.Ident); ok {
				for _, n := range v.Names {
					got[typ.Name] = append(got[typ.Name], n.Name)
				}
			}
		}
	}
	for typ, want := range map[string][]string{
		"ECall":  {"ECallInitChannel", "ECallInitDataChannel", "ECallRun", "ECallShutdown"},
		"Notify": {"NotifyPark", "NotifyWake", "NotifySpawn", "NotifyExit", "NotifyYield", "NotifyKick", "NotifyData", "NotifyRPC"},
	} {
		if !slices.Equal(got[typ], want) {
			t.Errorf("%s: %v, want %v", typ, got[typ], want)
		}
	}

	b, err := image()
	if err != nil {
		t.Fatal(err)
	}
	boot, err := goenclave.ReadBoot(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	var sites, tcs int
	var last []byte // the end of the page before, for an instruction across pages
	r := sgxs.NewPageReader(bytes.NewReader(b))
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case p.Flags.PageType() == sgx.PageTCS:
			tcs++
			if c, err := sgx.ParseTCS(p.Data); err != nil || boot.Base+c.OEntry != boot.Entry || c.NSSA != wall.SSAFrames {
				t.Errorf("TCS at %#x: %+v, %v", p.Offset, c, err)
			}
		case p.Flags&sgx.SecInfoX != 0 && p.Measured != 0:
			code := append(last, p.Data...)
			sites += bytes.Count(code, []byte{0x0f, 0x01, 0xd7})
			last = slices.Clone(code[len(code)-2:])
		}
	}
	if sites != 3 || tcs != int(boot.Threads) {
		t.Errorf("%d ENCLUs and %d TCSs, want 3 and %d", sites, tcs, boot.Threads)
	}
}
