//go:build linux

package proxy_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/channel/wire"
	"github.com/enclaveos/eos/pkg/runner/proxy"
)

// clientEnv makes the test binary a client: "addr connections size rounds". A client
// in the server's own process would share its scheduler, which none does.
const clientEnv = "EOS_TEST_PROXY_CLIENT"

func TestMain(m *testing.M) {
	if s := os.Getenv(clientEnv); s != "" {
		if err := client(strings.Fields(s)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func client(args []string) error {
	conns, _ := strconv.Atoi(args[1])
	size, _ := strconv.Atoi(args[2])
	rounds, _ := strconv.Atoi(args[3])
	done := make(chan error)
	for i := range conns {
		go func() {
			done <- func() error {
				c, err := net.Dial("tcp", args[0])
				if err != nil {
					return err
				}
				defer c.Close()
				buf := make([]byte, size)
				for range rounds/conns + min(1, max(0, rounds%conns-i)) {
					if _, err := c.Write(buf); err != nil {
						return err
					}
					if _, err := io.ReadFull(c, buf); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range conns {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkRoundTrip has a client in another process send and get back messages, by
// way of the rings and from an ordinary Go server.
func BenchmarkRoundTrip(b *testing.B) {
	for _, conns := range []int{1, 8} {
		for _, size := range []int{64, 16 << 10} {
			run := func(b *testing.B, addr string) {
				b.SetBytes(int64(size))
				b.ResetTimer()
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), clientEnv+"="+fmt.Sprint(addr, " ", conns, " ", size, " ", b.N))
				c.Stderr = os.Stderr
				if err := c.Run(); err != nil {
					b.Fatal(err)
				}
			}
			name := fmt.Sprintf("conns=%d/bytes=%d/", conns, size)
			b.Run(name+"rings", func(b *testing.B) {
				e := start(b, proxy.Options{})
				_, addr := e.listen("127.0.0.1:0")
				done := make(chan struct{})
				go func() {
					defer close(done)
					for ended := 0; ended < conns; {
						m := e.recv()
						switch m.Type {
						case wire.TcpNew:
							e.put(wire.AppendCredit(nil, m.ID, wire.Window-wire.FirstWindow))
						case wire.TcpData:
							e.put(wire.Append(nil, wire.TcpData, m.ID, m.Payload))
							e.put(wire.AppendCredit(nil, m.ID, uint32(len(m.Payload))))
						case wire.TcpFin, wire.TcpError:
							e.put(wire.Append(nil, wire.TcpClose, m.ID, nil))
							ended++
						}
					}
				}()
				run(b, addr)
				<-done
			})
			b.Run(name+"native", func(b *testing.B) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				go func() {
					for {
						s, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							defer s.Close()
							buf := make([]byte, 64<<10)
							for {
								n, err := s.Read(buf)
								if err != nil {
									return
								}
								s.Write(buf[:n])
							}
						}()
					}
				}()
				run(b, l.Addr().String())
			})
		}
	}
}
