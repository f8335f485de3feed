package abi

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/enclaveos/eos/pkg/ijson"
)

// Type is the type of a parameter or result as callers see it in JSON.
type Type string

const (
	None   Type = ""       // no result
	Bool   Type = "bool"   // i32: 0 or 1
	S32    Type = "s32"    // i32
	U32    Type = "u32"    // i32
	S64    Type = "s64"    // i64; in JSON a number, or a string of digits
	U64    Type = "u64"    // i64; likewise
	F32    Type = "f32"    // f32
	F64    Type = "f64"    // f64
	String Type = "string" // UTF-8: i32 pointer and i32 length
	Bytes  Type = "bytes"  // in JSON base64: i32 pointer and i32 length
	JSON   Type = "json"   // any JSON value, as text: i32 pointer and i32 length
)

const (
	f32v ValueType = 0x7d
	f64v ValueType = 0x7c
)

// Param is one parameter.
type Param struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}

// Signature is a function as callers see it.
type Signature struct {
	Name   string  `json:"name"`             // what callers say
	Export string  `json:"export,omitempty"` // the core export's name; Name if it is empty
	Params []Param `json:"params"`
	Result Type    `json:"result,omitempty"`
}

// Core gives the core types of a signature. A result of type string, bytes or
// json is an i64 (pointer<<32 | length), or nothing where the guest uses reply;
// both are right.
func (s Signature) Core() (params, results []ValueType) {
	for _, p := range s.Params {
		params = append(params, core(p.Type)...)
	}
	switch {
	case s.Result == None:
	case s.Result.Indirect():
		results = []ValueType{I64}
	default:
		results = core(s.Result)
	}
	return params, results
}

// Indirect reports whether values of the type lie in the guest's memory.
func (t Type) Indirect() bool { return t == String || t == Bytes || t == JSON }

// Check reports what is wrong with the signature for an export of these core types.
func (s Signature) Check(params, results []ValueType) error {
	p, r := s.Core()
	if !slices.Equal(p, params) {
		return fmt.Errorf("function %s: its parameters are %s in core WASM; its signature %s wants %s", s.Name, names(params), s, names(p))
	}
	if !slices.Equal(r, results) && !(s.Result.Indirect() && len(results) == 0) {
		return fmt.Errorf("function %s: it returns %s in core WASM; its signature %s wants %s", s.Name, names(results), s, names(r))
	}
	return nil
}

// NeedsAlloc reports whether a caller has to put parameters into the guest's memory.
func (s Signature) NeedsAlloc() bool {
	return slices.ContainsFunc(s.Params, func(p Param) bool { return p.Type.Indirect() })
}

func (s Signature) String() string {
	var b strings.Builder
	b.WriteString(s.Name + "(")
	for i, p := range s.Params {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(p.Name + ":" + string(p.Type))
	}
	return b.String() + ")" + string(s.Result)
}

func core(t Type) []ValueType {
	switch t {
	case Bool, S32, U32:
		return []ValueType{I32}
	case S64, U64:
		return []ValueType{I64}
	case F32:
		return []ValueType{f32v}
	case F64:
		return []ValueType{f64v}
	case String, Bytes, JSON:
		return []ValueType{I32, I32}
	}
	return nil
}

func names(types []ValueType) string {
	if len(types) == 0 {
		return "nothing"
	}
	var s []string
	for _, t := range types {
		n, ok := map[ValueType]string{I32: "i32", I64: "i64", f32v: "f32", f64v: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref"}[t]
		if !ok {
			n = fmt.Sprintf("%#x", t)
		}
		s = append(s, n)
	}
	return "(" + strings.Join(s, " ") + ")"
}

// toolExports are what tool chains export for themselves, and names that begin so.
var (
	toolExports  = []string{"main", "malloc", "calloc", "realloc", "free"}
	toolPrefixes = []string{"__", "asyncify_", "cabi_", "canonical_abi_"}
)

// Infer makes a signature from core types: integers are signed. It reports false
// for types that JSON cannot carry and for more than one result, for an export that
// is no name, and for what tool chains export for themselves: nobody meant it to be
// called. Who does mean it says so with a signature.
func Infer(name string, params, results []ValueType, paramNames []string) (Signature, bool) {
	s := Signature{Name: name, Params: []Param{}}
	if !identifier(name) || slices.Contains(toolExports, name) ||
		slices.ContainsFunc(toolPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return s, false
	}
	types := map[ValueType]Type{I32: S32, I64: S64, f32v: F32, f64v: F64}
	used := map[string]bool{}
	for i, p := range params {
		t, ok := types[p]
		if !ok {
			return s, false
		}
		n := fmt.Sprintf("p%d", i)
		if i < len(paramNames) && identifier(paramNames[i]) && !used[paramNames[i]] {
			n = paramNames[i]
		}
		if used[n] {
			return s, false
		}
		used[n] = true
		s.Params = append(s.Params, Param{n, t})
	}
	if len(results) > 1 {
		return s, false
	}
	if len(results) == 1 {
		t, ok := types[results[0]]
		if !ok {
			return s, false
		}
		s.Result = t
	}
	return s, true
}

// ParseExport reads a signature that is spelled out in the name of an export, as
// "put(key:string,value:string)string". It reports false for a plain name.
func ParseExport(export string) (Signature, bool, error) {
	name, rest, ok := strings.Cut(export, "(")
	if !ok {
		return Signature{}, false, nil
	}
	list, result, ok := strings.Cut(rest, ")")
	if !ok {
		return Signature{}, true, fmt.Errorf("export %q: no closing parenthesis", export)
	}
	s := Signature{Name: name, Export: export, Params: []Param{}, Result: Type(result)}
	if list != "" {
		for item := range strings.SplitSeq(list, ",") {
			n, t, _ := strings.Cut(item, ":")
			s.Params = append(s.Params, Param{n, Type(t)})
		}
	}
	if err := s.valid(); err != nil {
		return Signature{}, true, fmt.Errorf("export %q: %w", export, err)
	}
	return s, true, nil
}

// ParseSection reads the custom section "eos.functions": a JSON array of
// signatures, strict.
func ParseSection(data []byte) ([]Signature, error) {
	var list []Signature
	if err := ijson.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("section %s: %w", Section, err)
	}
	seen := map[string]bool{}
	for i := range list {
		s := &list[i]
		if s.Params == nil {
			s.Params = []Param{}
		}
		if err := s.valid(); err != nil {
			return nil, fmt.Errorf("section %s: function %q: %w", Section, s.Name, err)
		}
		if seen[s.Name] {
			return nil, fmt.Errorf("section %s: two functions named %q", Section, s.Name)
		}
		seen[s.Name] = true
	}
	return list, nil
}

func (s Signature) valid() error {
	if !identifier(s.Name) {
		return fmt.Errorf("%q is no name for a function", s.Name)
	}
	seen := map[string]bool{}
	for _, p := range s.Params {
		if !identifier(p.Name) {
			return fmt.Errorf("%q is no name for a parameter", p.Name)
		}
		if seen[p.Name] {
			return fmt.Errorf("two parameters named %q", p.Name)
		}
		seen[p.Name] = true
		if core(p.Type) == nil {
			return fmt.Errorf("parameter %s: no type %q", p.Name, p.Type)
		}
	}
	if s.Result != None && core(s.Result) == nil {
		return fmt.Errorf("no type %q", s.Result)
	}
	return nil
}

// identifier is a letter or underscore, then letters, digits, '_', '-' and '.'; at
// most 128 bytes.
func identifier(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i, r := range s {
		switch {
		case unicode.IsLetter(r) || r == '_':
		case i > 0 && (r >= '0' && r <= '9' || r == '-' || r == '.'):
		default:
			return false
		}
	}
	return true
}
