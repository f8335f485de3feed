package wasm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/manifest"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// answered is what the guest's host function says of one call.
type answered struct {
	Code   int32
	Result []byte
}

// script lets a guest do calls of the host: [["name", argument...], ...]. A number is
// one i32, a string a pointer and a length, {"$":n} the result of the n-th call.
func script(t testing.TB, a *App, calls string) []answered {
	t.Helper()
	params, err := json.Marshal(map[string]json.RawMessage{"calls": json.RawMessage(calls)})
	if err != nil {
		t.Fatalf("%v: %s", err, calls)
	}
	got, err := call(t, a, "host", string(params))
	if err != nil {
		t.Fatalf("%v: %s", err, calls)
	}
	var list []answered
	if err := json.Unmarshal([]byte(got), &list); err != nil {
		t.Fatalf("%v: %s gives %s", err, calls, got)
	}
	return list
}

// codes are the codes of a script.
func codes(list []answered) (c []int32) {
	for _, a := range list {
		c = append(c, a.Code)
	}
	return c
}

// TestFunctions: what the interface names is what there is.
func TestFunctions(t *testing.T) {
	for _, f := range abi.Functions {
		if hostFuncs[f.Name] == nil {
			t.Errorf("%s is named and not there", f.Name)
		}
		if i := manifest.Interface(f.Interface); f.Interface != abi.Core && !slices.Contains(manifest.Interfaces, i) {
			t.Errorf("%s is of interface %q, which a manifest cannot name", f.Name, i)
		}
	}
	if len(hostFuncs) != len(abi.Functions) {
		t.Errorf("%d functions, %d named", len(hostFuncs), len(abi.Functions))
	}
	if len(abi.Interfaces) != len(manifest.Interfaces) {
		t.Errorf("%d interfaces, a manifest has %d", len(abi.Interfaces), len(manifest.Interfaces))
	}
}

func TestKV(t *testing.T) {
	a := sharedGuest(t)
	got := script(t, a, `[
		["kv_get","none"], ["kv_put","k1","v1"], ["kv_put","k2",""], ["kv_put","k10","v"], ["kv_put","other","x"],
		["kv_get","k1"], ["kv_get","k2"], ["kv_list","k","",0], ["kv_list","k","k1",1], ["kv_list","","",2], ["kv_list","none","",0],
		["kv_delete","k1"], ["kv_delete","k1"], ["kv_get","k1"], ["kv_list","k","",-1], ["kv_put","","v"], ["kv_get",""]]`)
	want := []int32{-2, 0, 0, 0, 0, 2, 0, 19, 7, 13, 0, 1, 0, -2, -4, -4, -4}
	if !slices.Equal(codes(got), want) {
		t.Fatalf("codes %v, want %v", codes(got), want)
	}
	if string(got[5].Result) != "v1" {
		t.Errorf("k1 is %q", got[5].Result)
	}
	var keys []string
	for b := got[7].Result; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b)
		keys, b = append(keys, string(b[4:4+n])), b[4+n:]
	}
	if !slices.Equal(keys, []string{"k1", "k10", "k2"}) {
		t.Errorf("keys %q", keys)
	}
	if string(got[8].Result) != "\x03\x00\x00\x00k10" {
		t.Errorf("behind k1 there is %q", got[8].Result)
	}
}

// TestHostile: pointers and lengths that lie, for every function that takes some, end
// with an error code and touch nothing.
func TestHostile(t *testing.T) {
	a := sharedGuest(t)
	bad := [][2]uint32{
		{0xffffffff, 1}, {0xfffffff0, 0x20}, {0, 0xffffffff}, {0x80000000, 0x80000000}, {0x7fffffff, 0x7fffffff},
		{1 << 31, 4}, {64 << 20, 1}, {64<<20 - 1, 2},
	}
	n := 0
	for _, f := range abi.Functions {
		if f.Name == "reply" || f.Name == "fail" {
			continue // they end the call: below
		}
		var lies []string
		for pair := 0; pair+1 < len(f.Params); pair++ {
			for _, p := range bad {
				var args []string
				for i := range f.Params {
					switch i {
					case pair:
						args = append(args, fmt.Sprint(p[0]))
					case pair + 1:
						args = append(args, fmt.Sprint(p[1]))
					default:
						args = append(args, "1")
					}
				}
				lies = append(lies, fmt.Sprintf("[%q,%s]", f.Name, strings.Join(args, ",")))
			}
		}
		if len(lies) == 0 {
			continue
		}
		n += len(lies)
		for i, got := range script(t, a, "["+strings.Join(lies, ",")+"]") {
			// (pointer 1, length 1) is good memory, so where the lie lies across two
			// real pairs it can be no lie at all; a code is all that there may be.
			if got.Code < abi.ErrExists {
				t.Errorf("%s = %d", lies[i], got.Code)
			}
		}
	}
	if n < 300 {
		t.Errorf("only %d lies were told", n)
	}
	got, err := call(t, a, "host", `{"calls":[["reply",4294967295,16],["fail",4294967295,16],["fail",4294967295,4294967295]]}`)
	if want := `[{"code":-1,"result":null},{"code":-1,"result":null},{"code":-5,"result":null}]`; err != nil || got != want {
		t.Errorf("reply and fail: %s, %v", got, err)
	}
	_, err = call(t, a, "host", `{"calls":[["reply",1,4294967295]]}`)
	fault(t, "reply with too much", err, FaultOutput, "4294967295 bytes")
	for _, c := range []struct {
		call string
		want int32
	}{
		{`["kv_put",4294967295,1,1,1]`, abi.ErrFault},
		{`["kv_put",1,1,4294967295,1]`, abi.ErrFault},
		{`["kv_put",1,1025,1,1]`, abi.ErrTooLarge},
		{`["kv_put",1,1,1,4294967295]`, abi.ErrTooLarge},
		{`["kv_get",4294967295,0]`, abi.ErrFault},
		{`["random",1,65537]`, abi.ErrTooLarge},
		{`["random",4294967295,16]`, abi.ErrFault},
		{`["result_read",4294967295,16]`, abi.ErrFault},
		{`["digest",9,"x"]`, abi.ErrInvalid},
		{`["digest",1,4294967290,10]`, abi.ErrFault},
		{`["https_status"]`, abi.ErrNotFound},
		{`["https_headers"]`, abi.ErrNotFound},
		{`["attestation_set",0,"x"]`, abi.ErrInvalid},
		{`["attestation_set",1,"x"]`, abi.ErrUnavailable}, // this host has no certificate
	} {
		if got := script(t, a, "["+c.call+"]"); got[0].Code != c.want {
			t.Errorf("%s = %d, want %d", c.call, got[0].Code, c.want)
		}
	}
}

func TestCrypto(t *testing.T) {
	a := sharedGuest(t)
	raw := strings.Repeat("k", 32)
	got := script(t, a, `[
		["digest",1,"abc"], ["digest",2,"abc"], ["digest",3,"abc"],
		["key_exists","a"], ["key_generate",1,"a"], ["key_generate",1,"a"], ["key_exists","a"],
		["encrypt","a","","aad","plain"], ["decrypt","a","","aad",{"$":7}], ["decrypt","a","","other",{"$":7}],
		["encrypt","a","123456789012","","plain"], ["decrypt","a","123456789012","",{"$":10}], ["encrypt","a","short","",""],
		["decrypt","a","","","short"], ["encrypt","none","","",""], ["sign","a","x"], ["key_public","a"], ["hmac",1,"a","x"],
		["key_generate",2,"p256"], ["sign","p256","data"], ["verify","p256","data",{"$":19}], ["verify","p256","date",{"$":19}],
		["verify","p256","data","rubbish"], ["key_public","p256"], ["encrypt","p256","","",""],
		["key_generate",3,"p384"], ["sign","p384","data"], ["verify","p384","data",{"$":26}], ["verify","p256","data",{"$":26}],
		["key_import",4,"mac","`+raw+`"], ["hmac",1,"mac","data"], ["hmac_verify",1,"mac","data",{"$":30}],
		["hmac_verify",1,"mac","date",{"$":30}], ["hmac_verify",2,"mac","data",{"$":30}], ["hmac",7,"mac","data"],
		["key_import",1,"aes","`+raw+`"], ["key_import",1,"aes2","short"], ["key_import",2,"p","`+raw+`"], ["key_generate",9,"n"],
		["key_delete","a"], ["key_delete","a"], ["key_exists","a"], ["key_generate",1,""]]`)
	want := []int32{32, 48, 64, 0, 0, -8, 1, 33, 5, -7, 21, 5, -4, -7, -2, -4, -4, -4,
		0, got[19].Code, 1, 0, 0, 91, -4, 0, got[26].Code, 1, 0, 0, 32, 1, 0, 0, -4, 0, -4, -4, -4, 1, 0, 0, -4}
	if !slices.Equal(codes(got), want) {
		t.Fatalf("codes\n%v, want\n%v", codes(got), want)
	}
	if h := hex.EncodeToString(got[0].Result); h != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("SHA-256 of abc is %s", h)
	}
	if string(got[8].Result) != "plain" || string(got[11].Result) != "plain" {
		t.Errorf("decrypted %q and %q", got[8].Result, got[11].Result)
	}
	// HMAC-SHA-256 of "data" under 32 times k.
	if h := base64.StdEncoding.EncodeToString(got[30].Result); h != macOfData {
		t.Errorf("the tag is %s", h)
	}
	if _, err := x509.ParsePKIXPublicKey(got[23].Result); err != nil {
		t.Error(err)
	}
	// Keys are there in later calls, and an app's own: see TestApart.
	if got := script(t, a, `[["key_exists","mac"],["verify","p256","data","`+"x"+`"]]`); !slices.Equal(codes(got), []int32{1, 0}) {
		t.Errorf("in a later call: %v", codes(got))
	}
}

const macOfData = "7tyl55p/pPFFZE6hJWZvvourWQgBlW/sDUt2B9FCe8g="

// TestDenied: a function of an interface that the app has not says so, and does nothing.
func TestDenied(t *testing.T) {
	var calls []string
	var want []int32
	for _, f := range abi.Functions {
		if f.Interface != abi.Core {
			calls = append(calls, fmt.Sprintf("[%q%s]", f.Name, strings.Repeat(",1", len(f.Params))))
			want = append(want, abi.ErrDenied)
		}
	}
	a := load(t, newHost(t, Interpreter), "guest", guest(t), func(m *manifest.App) { m.Interfaces = nil })
	defer a.Close(context.Background())
	if got := codes(script(t, a, "["+strings.Join(calls, ",")+"]")); !slices.Equal(got, want) || len(got) < 20 {
		t.Errorf("codes %v", got)
	}
}

// TestApart: two apps with the same code share nothing.
func TestApart(t *testing.T) {
	a := sharedGuest(t)
	b := otherGuest(t)
	script(t, a, `[["kv_put","secret","of a"],["key_generate",1,"apart"]]`)
	if got, err := call(t, a, "write", `{"path":"/secret","text":"of a"}`); err != nil || got != `"ok"` {
		t.Fatal(got, err)
	}
	if got := script(t, b, `[["kv_get","secret"],["key_exists","apart"],["kv_list","","",0],["kv_delete","secret"],
		["kv_get","../guest/secret"],["kv_get","kv:guest"]]`); !slices.Equal(codes(got), []int32{-2, 0, 0, 0, -2, -2}) {
		t.Errorf("the other app sees %v", codes(got))
	}
	for _, p := range []string{"/secret", "/../guest/secret", "../secret", "/app:guest/secret"} {
		if got, err := call(t, b, "read", fmt.Sprintf(`{"path":%q}`, p)); err != nil || !strings.HasPrefix(got, `"error:`) {
			t.Errorf("the other app reads %s, %v from %s", got, err, p)
		}
	}
	if got, _ := call(t, b, "list", `{"path":"/"}`); strings.Contains(got, "secret") {
		t.Errorf("the other app lists %s", got)
	}
	if got := script(t, a, `[["kv_get","secret"]]`); string(got[0].Result) != "of a" {
		t.Errorf("the value is %q", got[0].Result)
	}
	// The seal key is the app's: of its name and code.
	keys := map[string]bool{}
	for _, app := range []*App{a, b, a} {
		k := script(t, app, `[["seal_key"]]`)[0]
		if k.Code != 32 {
			t.Fatalf("seal_key = %d", k.Code)
		}
		keys[string(k.Result)] = true
	}
	if len(keys) != 2 {
		t.Errorf("%d seal keys, want 2", len(keys))
	}
}

func TestCallerAndRandom(t *testing.T) {
	a := sharedGuest(t)
	got := script(t, a, `[["caller"],["random",1048576,0]]`)
	if want := `{"app":"guest","function":"host","role":"anyone","roles":["a","b"]}`; string(got[0].Result) != want {
		t.Errorf("the caller is %s, want %s", got[0].Result, want)
	}
}

// TestLog: what a guest writes is in the log, cut where it is too much, and no line of
// it can look like another.
func TestLog(t *testing.T) {
	a := sharedGuest(t)
	if _, err := call(t, a, "say", `{"text":"a line\nlevel=ERROR msg=forged"}`); err != nil {
		t.Fatal(err)
	}
	script(t, a, `[["log",8,"an error\nof two lines"]]`)
	text := logs.text()
	for _, want := range []string{
		`level=INFO msg="a line" app=guest stream=stdout function=say`,
		`level=INFO msg="level=ERROR msg=forged" app=guest stream=stdout`,
		`level=INFO msg="to stderr: a line" app=guest stream=stderr`,
		`level=ERROR msg="an error\nof two lines" app=guest stream=log`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %s", want)
		}
	}
}

func TestAllowed(t *testing.T) {
	list := []string{"api.example.com:443", "*.example.org:443", "10.0.0.1:8443"}
	for host, want := range map[string]bool{
		"api.example.com:443": true, "API.example.com:443": true, "api.example.com.:443": true, "api.example.com:80": false,
		"x.api.example.com:443": false, "example.org:443": false, "a.example.org:443": true, "a.b.example.org:443": true,
		"badexample.org:443": false, "example.org.evil.net:443": false, "10.0.0.1:8443": true, "10.0.0.2:8443": false, ":443": false,
		"apİ.example.com:443": false, "apı.example.com:443": false, "ａpi.example.com:443": false, "ä.example.org:443": false, "xn--4ca.example.org:443": true,
	} {
		h, p, _ := net.SplitHostPort(host)
		if allowed(list, h, p) != want {
			t.Errorf("%s is allowed: %v", host, !want)
		}
	}
	if allowed(nil, "api.example.com", "443") {
		t.Error("an empty list allows something")
	}
}

func TestFetch(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		case "/long":
			_, _ = w.Write(make([]byte, maxBody+1))
		default:
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Test", "yes")
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Word"), b)
		}
	}))
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	a := sharedGuest(t)
	a.host.Fetch = NewFetcher(&http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
		}})
	defer func() { a.host.Fetch = nil }()
	got := script(t, a, `[
		["https_fetch","POST","https://127.0.0.1:8443/p","X-Word: hello\r\nAccept: */*","body"], ["https_status"], ["https_headers"],
		["https_fetch","GET","https://a.example.com/redirect","",""], ["https_status"],
		["https_fetch","GET","https://127.0.0.1:8444/","",""], ["https_status"],
		["https_fetch","GET","https://example.com/","",""],
		["https_fetch","GET","http://127.0.0.1:8443/","",""],
		["https_fetch","GET","https://user@127.0.0.1:8443/","",""],
		["https_fetch","CONNECT","https://127.0.0.1:8443/","",""],
		["https_fetch","GET","https://127.0.0.1:8443/","Host: other",""],
		["https_fetch","GET","https://127.0.0.1:8443/","Content-Length: 5",""],
		["https_fetch","GET","https://127.0.0.1:8443/","X: a\u0000b",""],
		["https_fetch","GET","https://127.0.0.1:8443/","no header",""],
		["https_fetch","GET","https://127.0.0.1:8443/long","",""]]`)
	if want := []int32{18, 418, got[2].Code, got[3].Code, 302, -3, -2, -3, -3, -4, -4, -4, -4, -4, -4, -5}; !slices.Equal(codes(got), want) {
		t.Errorf("codes %v, want %v", codes(got), want)
	}
	if string(got[0].Result) != "POST /p hello body" {
		t.Errorf("the body is %q", got[0].Result)
	}
	if !strings.Contains(string(got[2].Result), "X-Test: yes\r\n") {
		t.Errorf("the headers are %q", got[2].Result)
	}
}

// pipeDialer connects to a function.
type pipeDialer func(net.Conn)

func (d pipeDialer) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	if strings.HasPrefix(address, "none.") {
		return nil, io.ErrUnexpectedEOF
	}
	a, b := net.Pipe()
	go d(b)
	return a, nil
}

// TestConnections: a connection is a file, to what the allow-list has.
func TestConnections(t *testing.T) {
	a := sharedGuest(t)
	a.host.Dial = pipeDialer(func(c net.Conn) {
		b := make([]byte, 100)
		n, _ := c.Read(b)
		if string(b[:n]) == "hang" {
			_, _ = c.Read(b) // until the guest is gone
		}
		fmt.Fprintf(c, "you said %s", b[:n])
		c.Close()
	})
	defer func() { a.host.Dial = nil }()
	for _, c := range []struct{ address, text, want string }{
		{"127.0.0.1:8443", "hello", `"you said hello"`},
		{"a.example.com:443", "hello", `"you said hello"`},
		{"127.0.0.1:8444", "hello", "ermission denied"},
		{"10.0.0.1:8443", "hello", "ermission denied"},
		{"../tcp/10.0.0.1:8443", "hello", "ermission denied"},
		{"none.example.com:443", "hello", "I/O error"},
		{"rubbish", "hello", "No such file"},
	} {
		got, err := call(t, a, "dial", fmt.Sprintf(`{"address":%q,"text":%q}`, c.address, c.text))
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, %v; want %s", c.address, got, err, c.want)
		}
	}
	with(t, func(l *manifest.Limits) { l.TimeMS = 300 })
	_, err := call(t, a, "dial", `{"address":"127.0.0.1:8443","text":"hang"}`)
	fault(t, "a connection that hangs", err, FaultTime, "300 ms")
}

func TestFiles(t *testing.T) {
	if got, err := call(t, sharedGuest(t), "files", `{}`); err != nil || got != `""` {
		var s string
		_ = json.Unmarshal([]byte(got), &s)
		t.Errorf("%v\n%s", err, s)
	}
}
