package wall

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write boundary.txt")

// The list of all that crosses the wall is generated from the code, so that whoever
// adds to it changes a file that says nothing else: go test ./pkg/wall -update
func TestBoundaryList(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "wall.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("Generated from wall.go by go test ./pkg/wall -update\n")
	for _, g := range []struct{ typ, prefix, head, name string }{
		{"ECall", "ECall", "\nECALLs\n", "ecall_"},
		{"Notify", "Notify", "\nOCALLs\n1 ocall_notify(kind, a1, a2, a3), and its kinds\n", "  "},
		{"Refusal", "Refused", "\nNegative results of ECALLs\n", ""},
	} {
		b.WriteString(g.head)
		for _, d := range f.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, s := range decl.Specs {
				v := s.(*ast.ValueSpec)
				if typ, ok := v.Type.(*ast.Ident); !ok || typ.Name != g.typ {
					continue
				}
				fmt.Fprintf(&b, "%s %s%s\n", value(v.Values[0]), g.name, snake(strings.TrimPrefix(v.Names[0].Name, g.prefix)))
			}
		}
	}
	if *update {
		if err := os.WriteFile("boundary.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := os.ReadFile("boundary.txt")
	if err != nil || string(list) != b.String() {
		t.Errorf("boundary.txt is not what the code says (%v); the code says\n%s", err, b.String())
	}
}

// value is an integer constant as it is written.
func value(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value
	case *ast.UnaryExpr:
		return e.Op.String() + value(e.X)
	}
	return "?"
}

// snake is InitDataChannel as init_data_channel, and RPC as rpc.
func snake(s string) string {
	var b strings.Builder
	for i, c := range s {
		if unicode.IsUpper(c) && i > 0 && !unicode.IsUpper(rune(s[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
