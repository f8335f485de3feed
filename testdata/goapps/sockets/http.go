package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"
)

func handler(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%s %s %d %x", r.Method, r.URL.Path, n, h.Sum(nil))
}

func ask(client *http.Client, url string, n int) error {
	body := bytes.Repeat([]byte{byte(n)}, n*1000)
	r, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if want := fmt.Sprintf("POST /p %d %x", len(body), sha256.Sum256(body)); err != nil || string(got) != want {
		return fmt.Errorf("answer %q, %v, want %q", got, err, want)
	}
	return nil
}

func plainHTTP(n int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(handler)}
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}, Timeout: time.Minute}
	for i := range n {
		if err := ask(client, "http://"+l.Addr().String()+"/p", i); err != nil {
			return err
		}
	}
	client.CloseIdleConnections()
	if err := srv.Shutdown(context.Background()); err != nil {
		return err
	}
	if err := <-done; err != http.ErrServerClosed {
		return err
	}
	return nil
}

func overTLS(n int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: http.HandlerFunc(handler)}
	go srv.Serve(l)
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	for _, keepAlive := range []bool{true, false} {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, DisableKeepAlives: !keepAlive,
		}}
		for i := range n {
			if err := ask(client, "https://"+l.Addr().String()+"/p", i); err != nil {
				return err
			}
		}
		client.CloseIdleConnections()
	}
	if _, err := tls.Dial("tcp", l.Addr().String(), nil); err == nil {
		return errors.New("a certificate of nobody was believed")
	}
	return nil
}
