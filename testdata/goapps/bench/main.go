// Command bench does one kind of work for some time and prints its rate, or
// serves HTTPS: bench WORK, or bench serve ADDRESS. It is built natively and as
// an enclave, and the two are compared.
package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"time"
)

// duration is how long a kind of work runs, in slices. What counts is the median of
// the slices: what else the machine does now and then shall not.
const (
	duration = 500 * time.Millisecond
	slice    = 20 * time.Millisecond // a few cycles of the collector
)

// work has the kinds: each call does one unit.
var work = map[string]func() func(){
	"sha256": func() func() {
		b := make([]byte, 64<<10)
		return func() { sha256.Sum256(b) }
	},
	"aesgcm": func() func() {
		c, _ := aes.NewCipher(make([]byte, 16))
		g, _ := cipher.NewGCM(c)
		b, out, nonce := make([]byte, 16<<10), make([]byte, 0, 17<<10), make([]byte, 12)
		return func() { g.Seal(out, nonce, b, nil) }
	},
	"sort": func() func() {
		r := mathrand.New(mathrand.NewPCG(1, 2))
		v := make([]int, 10000)
		return func() {
			for i := range v {
				v[i] = r.Int()
			}
			slices.Sort(v)
		}
	},
	"json": func() func() {
		type item struct {
			Name string
			N    []int
			M    map[string]float64
		}
		v := item{"a name", make([]int, 50), map[string]float64{"a": 1.5, "b": 2.25, "c": 1e9}}
		return func() {
			b, err := json.Marshal(v)
			if err == nil {
				err = json.Unmarshal(b, new(item))
			}
			if err != nil {
				log.Fatal(err)
			}
		}
	},
	"gc": func() func() { return func() { tree(12) } },
}

type node struct{ l, r *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		serve(os.Args[2])
	}
	if len(os.Args) == 2 && os.Args[1] == "heap" {
		heap()
		return
	}
	if len(os.Args) != 2 || work[os.Args[1]] == nil {
		log.Fatal("usage: bench WORK | bench heap | bench serve ADDRESS")
	}
	unit := work[os.Args[1]]()
	unit()
	var took []int64 // ns for each unit, by slices
	for begin := time.Now(); time.Since(begin) < duration; {
		n, start := 0, time.Now()
		for time.Since(start) < slice {
			for range 10 {
				unit()
			}
			n += 10
		}
		took = append(took, int64(time.Since(start))/int64(n))
	}
	slices.Sort(took)
	fmt.Println(took[len(took)/2])
}

// heap allocates as a cache does that replaces its entries, and prints how many bytes
// of heap the runtime has committed.
func heap() {
	cache := map[int][]byte{}
	r := mathrand.New(mathrand.NewPCG(1, 2))
	for range 200_000 {
		cache[r.IntN(20_000)] = make([]byte, 500+r.IntN(1500))
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println(m.HeapSys - m.HeapReleased)
	runtime.KeepAlive(cache)
}

func serve(addr string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(l.Addr())
	body := make([]byte, 1024)
	s := &http.Server{
		Handler:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }),
		ErrorLog:     log.New(io.Discard, "", 0),
		TLSConfig:    &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	log.Fatal(s.ServeTLS(l, "", ""))
}
