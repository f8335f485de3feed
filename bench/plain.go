package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// servePlain is what the apps in an enclave are held against: the same handlers in
// plain Go over TLS 1.3, with Pebble for what is stored. It runs in a process of its own.
func servePlain(dir string) {
	db, err := pebble.Open(filepath.Join(dir, "plain"), &pebble.Options{Logger: quiet{}})
	check(err)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /data", func(w http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil && string(b) == "hello" {
			fmt.Fprint(w, "world")
		}
	})
	type note struct{ Name, Text string }
	answer := func(f func(n note) (any, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var n note
			err := json.NewDecoder(r.Body).Decode(&n)
			var v any
			if err == nil {
				v, err = f(n)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(v)
		}
	}
	for _, app := range []string{"hello", "hello-c"} {
		mux.HandleFunc("POST /rpc/"+app+"/hello", answer(func(n note) (any, error) { return "Hello, " + n.Name + ", from inside an enclave.", nil }))
	}
	mux.HandleFunc("POST /rpc/notes/put", answer(func(n note) (any, error) { return "stored", db.Set([]byte(n.Name), []byte(n.Text), pebble.Sync) }))
	mux.HandleFunc("POST /rpc/notes/get", answer(func(n note) (any, error) {
		v, c, err := db.Get([]byte(n.Name))
		if errors.Is(err, pebble.ErrNotFound) {
			return "", nil
		}
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return string(v), nil
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(l.Addr())
	s := &http.Server{
		Handler: mux, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{selfSigned()}, MinVersion: tls.VersionTLS13},
	}
	check(s.ServeTLS(l, "", ""))
}

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// plainArg makes this program the plain server.
const plainArg = "serve-plain"

// isPlain runs the plain server if this process is to be one.
func isPlain() bool {
	if len(os.Args) != 3 || os.Args[1] != plainArg {
		return false
	}
	servePlain(os.Args[2])
	return true
}
