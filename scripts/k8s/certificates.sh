# shellcheck shell=bash
# Certificates of one day, by openssl: for the cluster, and for the API of the nodes under test.

# authority FOLDER NAME: a CA in FOLDER/ca.crt and FOLDER/ca.key.
authority() {
  mkdir -p "$1"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj "/CN=$2" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$1/ca.key" -out "$1/ca.crt" 2> /dev/null
}

# certificate FOLDER NAME SUBJECT [SUBJECT_ALTERNATIVE_NAMES]: FOLDER/NAME.crt and FOLDER/NAME.key, signed by FOLDER's CA.
certificate() {
  local folder=$1 name=$2 subject=$3 names=${4:-}
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$folder/$name.key" -out "$folder/$name.csr" 2> /dev/null
  {
    echo "basicConstraints=critical,CA:FALSE"
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=serverAuth,clientAuth"
    [ -z "$names" ] || echo "subjectAltName=$names"
  } > "$folder/$name.ext"
  openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 1 \
    -extfile "$folder/$name.ext" -out "$folder/$name.crt" 2> /dev/null
  rm "$folder/$name.csr" "$folder/$name.ext"
}
