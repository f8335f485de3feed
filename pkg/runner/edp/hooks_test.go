package edp

import (
	"context"
	"net"

	"github.com/enclaveos/eos/pkg/runner/platform"
)

var exitEEXIT = platform.Exit{Kind: platform.ExitEEXIT}

// connectIf connects over TCP, except that "nowhere" hangs until stop, whatever
// the context says.
func connectIf(stop <-chan struct{}) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		if addr == "nowhere" {
			<-stop
		}
		return ConnectTCP(ctx, addr)
	}
}
