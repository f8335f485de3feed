package eos

import (
	"encoding/json"
	"strings"
)

// Caller is who made the call that is being answered.
type Caller struct {
	App      string          `json:"app"`
	Function string          `json:"function"`
	Role     string          `json:"role"`
	Roles    []string        `json:"roles"`
	Peer     json.RawMessage `json:"peer"`
}

// CallerOf returns the caller.
func CallerOf() (*Caller, error) {
	b, err := output(caller())
	if err != nil {
		return nil, err
	}
	c := new(Caller)
	return c, json.Unmarshal(b, c)
}

// SetExtension puts bytes into the app's own certificate, as extension
// 1.3.6.1.4.1.65230.3.5.n; no bytes take it out.
func SetExtension(n int, value []byte) error { return done(attestationSet(int32(n), string(value))) }

// Response is what a server answered to Fetch.
type Response struct {
	Status  int
	Headers []string // "Name: value"
	Body    []byte
}

// Fetch makes an HTTPS request to one of the places that the manifest allows.
// Headers are lines of "Name: value".
func Fetch(method, url string, headers []string, body []byte) (*Response, error) {
	b, err := output(httpsFetch(method, url, strings.Join(headers, "\n"), string(body)))
	if err != nil {
		return nil, err
	}
	status, err := check(httpsStatus())
	if err != nil {
		return nil, err
	}
	h, err := output(httpsHeaders())
	if err != nil {
		return nil, err
	}
	return &Response{int(status), strings.Split(strings.TrimSuffix(string(h), "\r\n"), "\r\n"), b}, nil
}
