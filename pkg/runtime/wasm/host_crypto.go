package wasm

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"hash"

	"github.com/enclaveos/eos/pkg/runtime/kvstore"
	"github.com/enclaveos/eos/pkg/runtime/wasm/abi"
)

// maxData bounds what one call of the crypto interface works on.
const maxData = 16 << 20

func hashOf(algorithm int32) func() hash.Hash {
	switch algorithm {
	case abi.SHA256:
		return sha256.New
	case abi.SHA384:
		return sha512.New384
	case abi.SHA512:
		return sha512.New
	}
	return nil
}

func digest(_ context.Context, a *args) int32 {
	h := hashOf(a.i32())
	data := a.view(maxData)
	if a.code < 0 {
		return a.code
	}
	if h == nil {
		return abi.ErrInvalid
	}
	s := h()
	s.Write(data)
	return a.give(s.Sum(nil))
}

// A key is stored under its name: one byte for the kind, then what makes it: raw
// bytes, or a private key as PKCS #8.
type key struct {
	kind int32
	raw  []byte
}

func (a *args) loadKey(ctx context.Context, name []byte) (key, bool) {
	if a.code < 0 || !a.store(a.in.app.keys, name) {
		return key{}, false
	}
	b, err := a.in.app.keys.Get(ctx, name)
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
		a.code = abi.ErrNotFound
	case err != nil:
		a.code = a.storeError("key", err)
	case len(b) < 1:
		a.code = abi.ErrUnavailable
	default:
		return key{int32(b[0]), b[1:]}, true
	}
	return key{}, false
}

// storeKey stores a new key: a name is used once, until it is deleted.
func (a *args) storeKey(ctx context.Context, name []byte, k key) int32 {
	if a.code < 0 || !a.store(a.in.app.keys, name) {
		return a.code
	}
	a.in.app.keyMu.Lock()
	defer a.in.app.keyMu.Unlock()
	switch _, err := a.in.app.keys.Get(ctx, name); {
	case err == nil:
		return abi.ErrExists
	case !errors.Is(err, kvstore.ErrNotFound):
		return a.storeError("key", err)
	}
	if err := a.in.app.keys.Put(ctx, name, append([]byte{byte(k.kind)}, k.raw...)); err != nil {
		return a.storeError("key", err)
	}
	return 0
}

func keyGenerate(ctx context.Context, a *args) int32 {
	kind, name := a.i32(), a.bytes(abi.MaxKey)
	if a.code < 0 {
		return a.code
	}
	k := key{kind: kind}
	switch kind {
	case abi.KeyAES256, abi.KeyHMAC:
		k.raw = make([]byte, 32)
		_, _ = rand.Read(k.raw) // never fails
	case abi.KeyECDSAP256, abi.KeyECDSAP384:
		curve := elliptic.P256()
		if kind == abi.KeyECDSAP384 {
			curve = elliptic.P384()
		}
		a.in.charge(1_000_000)
		priv, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err == nil {
			k.raw, err = x509.MarshalPKCS8PrivateKey(priv)
		}
		if err != nil {
			return abi.ErrUnavailable
		}
	default:
		return abi.ErrInvalid
	}
	return a.storeKey(ctx, name, k)
}

func keyImport(ctx context.Context, a *args) int32 {
	kind, name, raw := a.i32(), a.bytes(abi.MaxKey), a.bytes(128)
	if a.code < 0 {
		return a.code
	}
	if !(kind == abi.KeyAES256 && len(raw) == 32 || kind == abi.KeyHMAC && len(raw) >= 16) {
		return abi.ErrInvalid
	}
	return a.storeKey(ctx, name, key{kind, raw})
}

func keyExists(ctx context.Context, a *args) int32 {
	if _, ok := a.loadKey(ctx, a.bytes(abi.MaxKey)); ok {
		return 1
	}
	if a.code == abi.ErrNotFound {
		a.code = 0
	}
	return a.code
}

func keyDelete(ctx context.Context, a *args) int32 {
	name := a.bytes(abi.MaxKey)
	if a.code < 0 || !a.store(a.in.app.keys, name) {
		return a.code
	}
	return a.remove(ctx, a.in.app.keys, name)
}

// private loads a signing key.
func (a *args) private(ctx context.Context, name []byte) (*ecdsa.PrivateKey, hash.Hash) {
	k, ok := a.loadKey(ctx, name)
	if !ok {
		return nil, nil
	}
	var h hash.Hash
	switch k.kind {
	case abi.KeyECDSAP256:
		h = sha256.New()
	case abi.KeyECDSAP384:
		h = sha512.New384()
	default:
		a.code = abi.ErrInvalid
		return nil, nil
	}
	p, err := x509.ParsePKCS8PrivateKey(k.raw)
	if e, ok := p.(*ecdsa.PrivateKey); err == nil && ok {
		a.in.charge(1_000_000)
		return e, h
	}
	a.code = abi.ErrUnavailable
	return nil, nil
}

func keyPublic(ctx context.Context, a *args) int32 {
	p, _ := a.private(ctx, a.bytes(abi.MaxKey))
	if p == nil {
		return a.code
	}
	b, err := x509.MarshalPKIXPublicKey(&p.PublicKey)
	if err != nil {
		return abi.ErrUnavailable
	}
	return a.give(b)
}

func sign(ctx context.Context, a *args) int32 {
	name, data := a.bytes(abi.MaxKey), a.view(maxData)
	p, h := a.private(ctx, name)
	if p == nil {
		return a.code
	}
	h.Write(data)
	s, err := ecdsa.SignASN1(rand.Reader, p, h.Sum(nil))
	if err != nil {
		return abi.ErrUnavailable
	}
	return a.give(s)
}

func verify(ctx context.Context, a *args) int32 {
	name, data, s := a.bytes(abi.MaxKey), a.view(maxData), a.view(1024)
	p, h := a.private(ctx, name)
	if p == nil {
		return a.code
	}
	h.Write(data)
	return truth(ecdsa.VerifyASN1(&p.PublicKey, h.Sum(nil), s))
}

func truth(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// gcm loads an AES key.
func (a *args) gcm(ctx context.Context, name []byte) cipher.AEAD {
	k, ok := a.loadKey(ctx, name)
	if !ok {
		return nil
	}
	if k.kind != abi.KeyAES256 {
		a.code = abi.ErrInvalid
		return nil
	}
	b, err := aes.NewCipher(k.raw)
	if err == nil {
		var g cipher.AEAD
		if g, err = cipher.NewGCM(b); err == nil {
			return g
		}
	}
	a.code = abi.ErrUnavailable
	return nil
}

func encrypt(ctx context.Context, a *args) int32 {
	name, nonce, aad, data := a.bytes(abi.MaxKey), a.view(64), a.view(maxData), a.view(maxData)
	g := a.gcm(ctx, name)
	if g == nil {
		return a.code
	}
	out := a.buffer(len(data) + g.NonceSize() + g.Overhead())
	if out == nil {
		return a.code
	}
	switch len(nonce) {
	case 0:
		nonce = make([]byte, g.NonceSize())
		_, _ = rand.Read(nonce) // never fails
		out = append(out, nonce...)
	case g.NonceSize():
	default:
		return abi.ErrInvalid
	}
	return a.give(g.Seal(out, nonce, data, aad))
}

func decrypt(ctx context.Context, a *args) int32 {
	name, nonce, aad, data := a.bytes(abi.MaxKey), a.view(64), a.view(maxData), a.view(maxData)
	g := a.gcm(ctx, name)
	if g == nil {
		return a.code
	}
	switch {
	case len(nonce) == 0 && len(data) >= g.NonceSize():
		nonce, data = data[:g.NonceSize()], data[g.NonceSize():]
	case len(nonce) == 0:
		return abi.ErrAuth
	case len(nonce) != g.NonceSize():
		return abi.ErrInvalid
	}
	out := a.buffer(len(data))
	if out == nil {
		return a.code
	}
	plain, err := g.Open(out, nonce, data, aad)
	if err != nil {
		return abi.ErrAuth
	}
	return a.give(plain)
}

// mac loads a key of kind HMAC and computes a tag.
func (a *args) mac(ctx context.Context, algorithm int32, name, data []byte) []byte {
	h := hashOf(algorithm)
	k, ok := a.loadKey(ctx, name)
	if !ok {
		return nil
	}
	if h == nil || k.kind != abi.KeyHMAC {
		a.code = abi.ErrInvalid
		return nil
	}
	m := hmac.New(h, k.raw)
	m.Write(data)
	return m.Sum(nil)
}

func hmacCall(ctx context.Context, a *args) int32 {
	algorithm, name, data := a.i32(), a.bytes(abi.MaxKey), a.view(maxData)
	tag := a.mac(ctx, algorithm, name, data)
	if tag == nil {
		return a.code
	}
	return a.give(tag)
}

func hmacVerify(ctx context.Context, a *args) int32 {
	algorithm, name, data, tag := a.i32(), a.bytes(abi.MaxKey), a.view(maxData), a.view(64)
	want := a.mac(ctx, algorithm, name, data)
	if want == nil {
		return a.code
	}
	return truth(hmac.Equal(want, tag))
}

func random(_ context.Context, a *args) int32 {
	b := a.room(abi.MaxRandom)
	if a.code == 0 {
		_, _ = rand.Read(b) // never fails
	}
	return a.code
}

// sealKey is HKDF of the enclave's root: another app, other code under the same
// name, or another enclave has another key.
func sealKey(_ context.Context, a *args) int32 {
	app := a.in.app
	if app.host.SealRoot == nil {
		return abi.ErrUnavailable
	}
	info := append([]byte("eos wasm seal key v1\x00"), app.Hash[:]...)
	k, err := hkdf.Key(sha256.New, app.host.SealRoot, nil, string(append(info, app.Name...)), 32)
	if err != nil {
		return abi.ErrUnavailable
	}
	return a.give(k)
}
