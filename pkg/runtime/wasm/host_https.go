package wasm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// Fetcher makes one HTTPS request for an app. It is *http.Client with a transport
// that knows whom to trust.
type Fetcher interface {
	Do(*http.Request) (*http.Response, error)
}

// Bounds of a fetch.
const (
	maxURL     = 8 << 10
	maxHeaders = 64 << 10
	maxBody    = 8 << 20
)

// fetched is the last answer.
type fetched struct {
	status  int32
	headers []byte
}

// allowed reports whether the list has host:port; an entry "*.name:port" has every
// name below it. A host's letters are ASCII: of others some become ASCII here in lower
// case and something else in the name that is asked for ("İ", which is not "i").
func allowed(egress []string, host, port string) bool {
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(egress, func(e string) bool {
		h, p, err := net.SplitHostPort(e)
		if err != nil || p != port {
			return false
		}
		if rest, ok := strings.CutPrefix(h, "*."); ok {
			return strings.HasSuffix(host, "."+rest)
		}
		return h == host
	})
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

func httpsFetch(ctx context.Context, a *args) int32 {
	method, target, head, body := a.bytes(16), a.bytes(maxURL), a.bytes(maxHeaders), a.bytes(maxBody)
	if a.code < 0 {
		return a.code
	}
	a.in.fetched = fetched{}
	u, err := url.Parse(string(target))
	if err != nil || u.Host == "" || u.User != nil || !slices.Contains(methods, string(method)) {
		return abi.ErrInvalid
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	if u.Scheme != "https" || !allowed(a.in.app.Egress, u.Hostname(), port) {
		return abi.ErrDenied
	}
	if a.in.app.host.Fetch == nil {
		return abi.ErrUnavailable
	}
	headers, ok := parseHeaders(head)
	if !ok {
		return abi.ErrInvalid
	}
	a.in.charge(fuelStore)
	ctx, cancel := context.WithDeadline(ctx, a.in.end)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, string(method), u.String(), bytes.NewReader(body))
	if err != nil {
		return abi.ErrInvalid
	}
	req.Header = headers
	resp, err := a.in.app.host.Fetch.Do(req)
	var unproven *tls.CertificateVerificationError
	if err != nil {
		a.in.alive()
		a.in.app.log.Warn("a fetch failed", "host", u.Hostname(), "error", err)
		if errors.As(err, &unproven) {
			return abi.ErrAuth
		}
		return abi.ErrUnavailable
	}
	defer resp.Body.Close()
	var lines bytes.Buffer
	if err := resp.Header.Write(&lines); err != nil || lines.Len() > maxHeaders || resp.ContentLength > maxBody {
		return abi.ErrTooLarge
	}
	answer := &fetching{r: io.LimitReader(resp.Body, maxBody+1), host: a.in.app.host}
	b, err := ingress.ReadAll(answer)
	a.in.fetchedAll += answer.n
	switch {
	case err != nil:
		a.in.alive()
		a.in.app.log.Warn("a fetch failed", "host", u.Hostname(), "error", err)
		return abi.ErrUnavailable
	case len(b) > maxBody:
		return abi.ErrTooLarge
	}
	a.in.fetched = fetched{int32(resp.StatusCode), lines.Bytes()}
	return a.give(b)
}

// fetching is a response that is read for an app. What all of them have lies beside the
// memory of instances, and has a part of that for its bound.
type fetching struct {
	r    io.Reader
	host *Host
	n    int64
}

// Read implements io.Reader.
func (f *fetching) Read(b []byte) (int, error) {
	n, err := f.r.Read(b)
	f.n += int64(n)
	if used := f.host.fetched.Add(int64(n)); f.host.Memory > 0 && used > f.host.Memory/4 {
		return 0, errors.New("no memory left for what apps fetch")
	}
	return n, err
}

func httpsStatus(_ context.Context, a *args) int32 {
	if a.in.fetched.status == 0 {
		return abi.ErrNotFound
	}
	return a.in.fetched.status
}

func httpsHeaders(_ context.Context, a *args) int32 {
	if a.in.fetched.status == 0 {
		return abi.ErrNotFound
	}
	return a.give(a.in.fetched.headers)
}

// parseHeaders reads lines "Name: value". What net/http decides itself is refused,
// and so is everything that could end a line.
func parseHeaders(b []byte) (http.Header, bool) {
	h := http.Header{}
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, false
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer", "Te":
			return nil, false
		}
		h.Add(name, strings.TrimSpace(value))
	}
	return h, true
}

// token reports whether s can be the name of a header.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r)
	})
}

// newFetcher is the Fetcher of an enclave: TLS 1.2 or later, with certificates of these
// authorities.
func newFetcher(authorities *x509.CertPool, d Dialer) Fetcher {
	return NewFetcher(&http.Transport{
		DialContext:       d.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
		MaxResponseHeaderBytes: maxHeaders,
	})
}

// NewFetcher is a Fetcher over a transport: no redirects (they could lead off the
// allow-list), no proxy.
func NewFetcher(t *http.Transport) Fetcher {
	t = t.Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = 4
	t.IdleConnTimeout = time.Minute
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

var errTooMany = errors.New("too many extensions")
