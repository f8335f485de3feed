package ratls_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
)

// A client that talks to the enclave it means, and to nothing else. Whom it trusts is an
// attest.Verifier with roots, an attest.Policy and a source of collateral; here they are
// those of a platform for tests.
func Example() {
	trust, addr, stop := exampleServer()
	defer stop()

	client, err := ratls.NewClient(ratls.Config{Trust: trust})
	if err != nil {
		panic(err)
	}
	resp, err := (&http.Client{Transport: client.Transport()}).Get("https://" + addr + "/hello")
	if err != nil {
		panic(err) // a *ratls.RefusedError says who is there instead, and why that is not enough
	}
	defer resp.Body.Close()
	peer, _ := ratls.ResponsePeer(resp)
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s, says an enclave with proof of the %s, TCB %s\n", body, peer.Proof(), peer.Result().Status)
	// Output: hello, says an enclave with proof of the session, TCB UpToDate
}

// exampleServer is an enclave that serves: an attester and an ingress.
func exampleServer() (trust ratls.Trust, addr string, stop func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	platform, err := ratlstest.New(time.Now())
	must(err)
	ca, err := ratls.NewSelfMade("example", time.Now())
	must(err)
	attester, err := ratls.NewAttester(ratls.AttesterConfig{Quoter: platform.Enclave("example"), CA: ca})
	must(err)
	must(attester.SetSubjects(context.Background(), ratls.Subject{Name: "example", Hosts: []string{"localhost", "127.0.0.1"}}))
	server, err := ingress.New(ingress.Options{Attester: attester, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	})})
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		must(server.Serve(ctx, l))
	}()
	return platform.Trust("example"), l.Addr().String(), func() { cancel(); <-ended }
}
