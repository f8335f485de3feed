package abi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestFunctions(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Functions {
		if seen[f.Name] || f.Doc == "" || len(f.Results) != 1 {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
		if got, ok := Lookup(f.Name); !ok || got.Name != f.Name {
			t.Errorf("%s is not found", f.Name)
		}
	}
	if _, ok := Lookup("nothing"); ok {
		t.Error("nothing is found")
	}
}

func TestParseExport(t *testing.T) {
	for export, want := range map[string]string{
		"f()":                             "f()",
		"put(key:string,value:bytes)bool": "put(key:string,value:bytes)bool",
		"a.b-c(x:json)json":               "a.b-c(x:json)json",
		"f(":                              "no closing parenthesis",
		"(x:s32)":                         `"" is no name for a function`,
		"f(x)":                            `no type ""`,
		"f(x:s33)":                        `no type "s33"`,
		"f(x:s32,x:s32)":                  "two parameters",
		"f(x:s32,)":                       `"" is no name for a parameter`,
		"f(1x:s32)":                       `"1x" is no name`,
		"f()text":                         `no type "text"`,
		"f() s32":                         `no type " s32"`,
		"f()s32)":                         `no type "s32)"`,
		"f g()":                           `"f g" is no name`,
	} {
		s, ok, err := ParseExport(export)
		switch {
		case !ok:
			t.Errorf("%s is taken for a plain name", export)
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v; want %s", export, err, want)
		case err == nil && (s.String() != want || s.Export != export):
			t.Errorf("%s is %s of %s; want %s", export, s, s.Export, want)
		}
	}
	if _, ok, err := ParseExport("plain"); ok || err != nil {
		t.Error("a plain name is taken for a signature")
	}
}

func TestCheck(t *testing.T) {
	s, _, err := ParseExport("f(a:bool,b:u64,c:f32,d:f64,e:string)bytes")
	if err != nil {
		t.Fatal(err)
	}
	params := []ValueType{I32, I64, f32v, f64v, I32, I32}
	for _, results := range [][]ValueType{{I64}, nil} {
		if err := s.Check(params, results); err != nil {
			t.Error(err)
		}
	}
	for _, c := range [][2][]ValueType{{params, {I32}}, {params, {I64, I64}}, {params[1:], {I64}}, {nil, {I64}}} {
		if s.Check(c[0], c[1]) == nil {
			t.Errorf("%v -> %v is taken for %s", c[0], c[1], s)
		}
	}
	if !s.NeedsAlloc() || (Signature{Params: []Param{{"a", S32}}, Result: Bytes}).NeedsAlloc() {
		t.Error("who needs memory of the guest's is not told")
	}
}

func TestInfer(t *testing.T) {
	for _, c := range []struct {
		params, results []ValueType
		names           []string
		want            string // "": none
	}{
		{nil, nil, nil, "f()"},
		{[]ValueType{I32, I64}, []ValueType{f64v}, []string{"n", "m"}, "f(n:s32,m:s64)f64"},
		{[]ValueType{I32, I32}, nil, []string{"n", "n"}, "f(n:s32,p1:s32)"},
		{[]ValueType{I32, I32}, nil, []string{"p1", "p1"}, ""},
		{[]ValueType{f32v}, nil, []string{"not a name"}, "f(p0:f32)"},
		{[]ValueType{0x7b}, nil, nil, ""},
		{nil, []ValueType{0x70}, nil, ""},
		{nil, []ValueType{I32, I32}, nil, ""},
	} {
		s, ok := Infer("f", c.params, c.results, c.names)
		if ok != (c.want != "") || ok && s.String() != c.want {
			t.Errorf("%v -> %v %v: %s, %v; want %s", c.params, c.results, c.names, s, ok, c.want)
		}
	}
}

// TestInferNames: what nobody meant to be called is not.
func TestInferNames(t *testing.T) {
	for name, want := range map[string]bool{
		"f": true, "get_item": true, "main2": true, "free_all": true, "größe": true,
		"main": false, "malloc": false, "free": false, "__main_void": false, "__new": false, "asyncify_stop_unwind": false,
		"cabi_realloc": false, "canonical_abi_free": false, "": false, "a b": false, "\x1b[2J": false, "a/b": false, "1st": false,
	} {
		if _, ok := Infer(name, nil, nil, nil); ok != want {
			t.Errorf("%q: %v", name, ok)
		}
	}
	if _, ok, err := ParseExport("free(p:u32)"); !ok || err != nil {
		t.Errorf("with a signature: %v, %v", ok, err)
	}
}

func FuzzParseExport(f *testing.F) {
	f.Add("put(key:string,value:bytes)bool")
	f.Fuzz(func(t *testing.T, export string) {
		if s, ok, err := ParseExport(export); ok && err == nil && s.String() != export {
			t.Errorf("%q is read as %q", export, s)
		}
	})
}

func FuzzParseSection(f *testing.F) {
	f.Add([]byte(`[{"name":"f","params":[{"name":"a","type":"s32"}],"result":"json"},{"name":"g"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseSection(b)
		if err != nil {
			return
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSection(text)
		if err != nil || !reflect.DeepEqual(list, again) && len(list) > 0 {
			t.Errorf("%s is read as %v and again as %v, %v", b, list, again, err)
		}
	})
}
