#!/bin/sh
# Makes the key files of this directory anew with OpenSSL 3 and ssh-keygen. The
# keys are for these tests only and sign nothing. The passphrase is the one of
# the tests. Run it here.
set -e
pass='pass:correct horse'
openssl genrsa -3 -traditional -out pkcs1.pem 3072
openssl pkcs8 -topk8 -nocrypt -in pkcs1.pem -out pkcs8.pem
for prf in SHA1 SHA224 SHA256 SHA384 SHA512; do
	openssl pkcs8 -topk8 -in pkcs1.pem -v2 aes-256-cbc -v2prf hmacWith$prf -iter 2048 -passout "$pass" -out pbkdf2-hmac$prf-aes-256-cbc.pem
done
for c in aes-128-cbc aes-192-cbc des3; do
	openssl pkcs8 -topk8 -in pkcs1.pem -v2 $c -iter 2048 -passout "$pass" -out pbkdf2-hmacSHA256-$c.pem
done
openssl pkcs8 -topk8 -in pkcs1.pem -scrypt -v2 aes-256-cbc -passout "$pass" -out scrypt-aes-256-cbc.pem
for c in aes128 aes192 aes256 des3; do
	openssl rsa -in pkcs1.pem -traditional -$c -passout "$pass" -out legacy-$c.pem
done
openssl pkcs8 -topk8 -in pkcs1.pem -v1 PBE-SHA1-3DES -passout "$pass" -out unsupported-pbe-sha1-3des.pem
openssl rsa -in pkcs1.pem -traditional -camellia128 -passout "$pass" -out unsupported-legacy-camellia128.pem
openssl rsa -in pkcs1.pem -pubout -out public.pem
openssl rsa -in pkcs1.pem -RSAPublicKey_out -out public-pkcs1.pem
openssl genrsa -3 -traditional -out wrong-2048.pem 2048
openssl genrsa -traditional -out wrong-e65537.pem 3072
openssl ecparam -name prime256v1 -genkey -out wrong-ec.pem
openssl genpkey -algorithm ed25519 -out wrong-ed25519.pem
openssl req -x509 -new -key wrong-2048.pem -subj /CN=test -days 3650 -out wrong-certificate.pem
openssl rsa -in pkcs1.pem -outform DER -traditional -out wrong-pkcs1.der
openssl pkcs8 -topk8 -nocrypt -in pkcs1.pem -outform DER -out wrong-pkcs8.der
openssl pkcs8 -topk8 -in pkcs1.pem -iter 2048 -passout "$pass" -outform DER -out wrong-encrypted.der
ssh-keygen -q -t ed25519 -N "" -f ssh -C test
mv ssh wrong-openssh.pem
rm ssh.pub
{
	echo "Key of a test; text like this is skipped."
	echo "modulus: none"
	cat pkcs1.pem
} >pkcs1-with-text.pem
sed 's/$/\r/' pkcs8.pem >pkcs8-crlf.pem
cat public.pem pkcs8.pem >pkcs8-after-public.pem
