package ratls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"
)

// Transport is an http.RoundTripper each of whose connections is one of Dial: requests
// go to enclaves that were accepted, or nowhere. It speaks HTTP/1.1, uses no proxy, and
// refuses URLs that are not https. ResponsePeer tells who answered.
func (c *Client) Transport() *Transport {
	return &Transport{&http.Transport{
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			t, err := c.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return t, nil
		},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("ratls: a connection without TLS proves nothing")
		},
		TLSHandshakeTimeout:    c.cfg.Timeout,
		ResponseHeaderTimeout:  2 * time.Minute,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

// Transport is what Client.Transport makes. It is safe for concurrent use.
type Transport struct{ http *http.Transport }

// RoundTrip sends a request to an enclave.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL == nil || r.URL.Scheme != "https" {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errors.New("ratls: only https goes to an enclave")
	}
	var peer *Peer // set before the request is sent, and so before there is an answer
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if c, ok := i.Conn.(*tls.Conn); ok {
			peer = peerOf(c)
		}
	}}
	resp, err := t.http.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return nil, err
	}
	if peer == nil {
		resp.Body.Close()
		return nil, fmt.Errorf("ratls: the connection to %s is not one that was checked", r.URL.Host)
	}
	resp.Request = r.WithContext(context.WithValue(r.Context(), peerKey, peer))
	return resp, nil
}

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() { t.http.CloseIdleConnections() }

// ResponsePeer tells which enclave a response of Transport came from.
func ResponsePeer(r *http.Response) (*Peer, bool) {
	if r == nil || r.Request == nil {
		return nil, false
	}
	p, ok := r.Request.Context().Value(peerKey).(*Peer)
	return p, ok
}
