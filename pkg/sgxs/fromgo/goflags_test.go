package fromgo

import (
	"errors"
	"slices"
	"testing"
)

func TestLinkFlags(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"", "-ldflags=-w -buildid="},
		{"-s -w", "-ldflags=-w -buildid="},
		{"-X main.v=1.2 -s -X=a/b.c=d", "-ldflags=-w -buildid= '-X=main.v=1.2' '-X=a/b.c=d'"},
		{"--X main.v=", "-ldflags=-w -buildid= '-X=main.v='"},
		{`-X "main.v=a b" '-X=main.w=say "c"'`, `-ldflags=-w -buildid= '-X=main.v=a b' '-X=main.w=say "c"'`},
		{`-X "main.v=it's"`, `-ldflags=-w -buildid= "-X=main.v=it's"`},
	} {
		o := Options{LDFlags: c.flags}
		got, err := o.linkFlags()
		if err != nil || got[len(got)-1] != c.want {
			t.Errorf("%q: %q, %v", c.flags, got, err)
		}
	}
	for _, flags := range []string{"-X", "-X main.v", "-X v=1", "-X=.v=1", "-extldflags=-static", "-linkmode external", "main.v=1", `-X "main.v=1`, `-X main.v=it's"-extld=x`} {
		o := Options{LDFlags: flags}
		if got, err := o.linkFlags(); !errors.As(err, new(*Error)) {
			t.Errorf("%q: %q, %v", flags, got, err)
		}
	}
}

func TestTags(t *testing.T) {
	o := Options{Tags: "a,b c"}
	if got := o.tags(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%q", got)
	}
	for _, tags := range []string{"cgo", "a,cgo", "-x"} {
		o := Options{Tags: tags}
		if err := o.checkGoFlags(); !errors.As(err, new(*Error)) {
			t.Errorf("%q: %v", tags, err)
		}
	}
}
