package wasm

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"
)

// Request is what a command is run for.
type Request struct {
	Method string
	Host   string
	Prefix string // of the path, that led to the app
	Path   string // the rest of it
	Query  string
	Header http.Header
	Body   []byte
}

// Response is what a command has written.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Fuel   uint64
}

// Run runs the command once: the request is its environment and standard input, as
// in CGI (RFC 3875), and the response is its standard output.
func (a *App) Run(ctx context.Context, caller Caller, r *Request) (_ *Response, err error) {
	var in *instance
	defer func(begun time.Time) { a.stats.call(begun, in, err) }(time.Now())
	if !a.command {
		return nil, faultf(FaultUnknown, "app %s is no command: it has functions", a.Name)
	}
	release, err := a.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	caller.App, caller.Function = a.Name, startExport
	out := &output{}
	in, err = a.newInstance(ctx, caller, a.deadline(), stdio{env: r.environment(), stdin: bytes.NewReader(r.Body), stdout: out})
	if err != nil {
		return nil, err
	}
	out.in = in
	_, err = in.mod.ExportedFunction(startExport).Call(in.context())
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 0 {
		err = nil
	}
	if err != nil {
		in.close()
		return nil, in.explain(err)
	}
	if err := in.finish(); err != nil {
		return nil, err
	}
	resp := parseOutput(out.b)
	resp.Fuel = in.used()
	return resp, nil
}

// output collects what a command writes, up to the limit.
type output struct {
	in *instance // nil while start functions run
	b  []byte
}

func (o *output) Write(b []byte) (int, error) {
	if o.in != nil {
		o.in.chargeBytes(len(b))
		if n := uint64(len(o.b)) + uint64(len(b)); n > uint64(o.in.app.Limits.OutputBytes) {
			o.in.stop(o.in.tooLong(n))
		}
		if f := o.in.hold(int64(len(b))); f != nil {
			o.in.stop(f)
		}
		o.b = append(o.b, b...)
	}
	return len(b), nil
}

// environment is the request as CGI puts it. The Authorization header stays out: it
// can be the operator's, and who calls is told by the interface "caller".
func (r *Request) environment() []string {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, "443"
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1",
		"SERVER_PROTOCOL=HTTP/1.1",
		"SERVER_SOFTWARE=eos",
		"HTTPS=on",
		"REQUEST_METHOD=" + r.Method,
		"SERVER_NAME=" + host,
		"SERVER_PORT=" + port,
		"HTTP_HOST=" + r.Host,
		"SCRIPT_NAME=" + r.Prefix,
		"PATH_INFO=" + r.Path,
		"QUERY_STRING=" + r.Query,
		"CONTENT_LENGTH=" + strconv.Itoa(len(r.Body)),
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		env = append(env, "CONTENT_TYPE="+t)
	}
	for name, values := range r.Header {
		switch name {
		case "Host", "Authorization", "Proxy", "Proxy-Authorization", "Content-Type", "Content-Length":
			continue
		}
		if strings.Contains(name, "_") {
			continue // it would be taken for the one with a hyphen, which others may have checked
		}
		sep := ", "
		if name == "Cookie" {
			sep = "; "
		}
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strings.Join(values, sep))
	}
	sort.Strings(env)
	out := env[:0]
	for _, kv := range env {
		if strings.IndexByte(kv, 0) < 0 { // WASI's strings end with zero
			out = append(out, kv)
		}
	}
	return out
}

// parseOutput takes headers off the front, if there are any: lines "Name: value", a
// blank line. All else is the body.
func parseOutput(b []byte) *Response {
	r := &Response{Status: http.StatusOK, Header: http.Header{}, Body: b}
	rest := b
	h := http.Header{}
	status := http.StatusOK
	for n := 0; ; n++ {
		line, more, ok := bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if !ok || len(line) == 0 && n == 0 {
			break
		}
		if len(line) == 0 {
			r.Status, r.Header, r.Body = status, h, more
			break
		}
		name, value, ok := strings.Cut(string(line), ":")
		value = strings.TrimSpace(value)
		if !ok || !token(name) || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			break
		}
		rest = more
		switch name := textproto.CanonicalMIMEHeaderKey(name); name {
		case "Status":
			word, _, _ := strings.Cut(value, " ")
			n, err := strconv.Atoi(word)
			if err != nil || n < 200 || n > 599 {
				n = http.StatusBadGateway
			}
			status = n
		case "Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive", "Upgrade", "Trailer", "Te":
		default:
			h.Add(name, value)
		}
	}
	if r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	return r
}
