use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use runbook_core::Host;
use runbook_postgres::{Format, Postgres, TlsConfig};
use runbook_targets::Local;

use crate::support::{Cluster, Spec, check, step};

#[tokio::test]
async fn a_server_is_reached_by_tls_and_shows_who_it_is() {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["db.example.org".into()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    let cluster = Cluster::start(Spec {
        settings: "ssl = on",
        tls: Some((own.pem(), key.serialize_pem())),
        ..Spec::default()
    });
    let ca_file = cluster.path("ca.pem");
    std::fs::write(&ca_file, ca_pem).unwrap();
    let tls = |name: &str, trusted: bool| {
        let mut tls = TlsConfig { server_name: Some(name.into()), ..TlsConfig::default() };
        tls.ca_file = trusted.then(|| ca_file.clone());
        let config = cluster.config("postgres").host("127.0.0.1").tls(tls);
        Postgres::new(&Host::new(Local::named("db-1")), config)
    };
    let db = tls("db.example.org", true);
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let rows = check(db.rows::<bool>("encrypted", encrypted, [])).await.unwrap();
    assert_eq!(rows.evidence(), &[true]);
    let dump = step(db.dump(cluster.path("dumps"), Format::Plain)).await.unwrap();
    assert!(check(db.verify(dump)).await.unwrap().passed());
    let failure = check(tls("other.example.org", true).ping()).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "postgres on db-1: the certificate of other.example.org is for db.example.org"
    );
    assert!(failure.to_problem().next.unwrap().contains("issue a certificate"));
    let failure = check(tls("db.example.org", false).ping()).await.unwrap_err();
    assert!(failure.to_string().contains("which is not trusted here"), "{failure}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_the_open() {
    let cluster = Cluster::shared();
    let at = |host: &str| {
        let config = cluster.config("postgres").host(host).tls(TlsConfig::default());
        Postgres::new(&Host::new(Local::named("db-1")), config)
    };
    let failure = check(at("127.0.0.1").ping()).await.unwrap_err();
    assert_eq!(
        failure.to_string(),
        "postgres on db-1: TLS is asked for, and the server does not speak it"
    );
    let socket = cluster.path("").display().to_string();
    let failure = check(at(&socket).ping()).await.unwrap_err();
    assert!(failure.to_string().contains("not spoken over a unix socket"), "{failure}");
}
