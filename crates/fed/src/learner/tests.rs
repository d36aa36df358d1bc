use super::*;

/// Makes points around `classes` centres on a circle. They are too near each other to be told apart perfectly.
fn clusters(rows: usize, classes: usize, seed: u64) -> Examples {
    let mut random = Random::new(seed);
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..rows {
        let label = random.below(classes);
        let angle = std::f32::consts::TAU * label as f32 / classes as f32;
        let mut noise = || (0..6).map(|_| random.unit() - 0.5).sum::<f32>() * 0.6;
        features.extend([angle.cos() + noise(), angle.sin() + noise()]);
        labels.push(label as u32);
    }
    Examples::new(features, labels, 2).unwrap()
}

/// Makes points on an inner and an outer ring, which no line separates.
fn rings(rows: usize, seed: u64) -> Examples {
    let mut random = Random::new(seed);
    let mut features = Vec::new();
    let mut labels = Vec::new();
    for _ in 0..rows {
        let label = random.below(2);
        let (angle, radius) = (
            std::f32::consts::TAU * random.unit(),
            0.4 + label as f32 + 0.2 * random.unit(),
        );
        features.extend([radius * angle.cos(), radius * angle.sin()]);
        labels.push(label as u32);
    }
    Examples::new(features, labels, 2).unwrap()
}

fn mlp() -> Mlp {
    Mlp {
        inputs: 2,
        hidden: 16,
        classes: 2,
        activation: Activation::Tanh,
    }
}

fn config(epochs: u32) -> TrainConfig {
    TrainConfig {
        epochs,
        learning_rate: 0.2,
        ..TrainConfig::default()
    }
}

fn trained(network: impl Network + 'static, data: &Examples, config: &TrainConfig) -> Learner {
    let mut learner = Learner::init(network, 3);
    let start = learner.tensors();
    learner.train(data, config, &start).unwrap();
    learner
}

#[test]
fn softmax_parts_what_lines_part() {
    let network = Softmax { inputs: 2, classes: 3 };
    let learner = trained(network, &clusters(600, 3, 1), &config(20));
    let reached = learner.accuracy(&clusters(600, 3, 2)).unwrap();
    assert!(reached > 0.9, "{reached}");
}

#[test]
fn hidden_layers_part_what_no_line_parts() {
    let (seen, unseen) = (rings(600, 1), rings(600, 2));
    let line = trained(Softmax { inputs: 2, classes: 2 }, &seen, &config(60));
    assert!(line.accuracy(&unseen).unwrap() < 0.75);
    let hidden = trained(mlp(), &seen, &config(60)).accuracy(&unseen).unwrap();
    assert!(hidden > 0.97, "mlp {hidden}");
    let network = Spiking {
        inputs: 2,
        hidden: 32,
        classes: 2,
        steps: 12,
    };
    let spiking = trained(network, &seen, &config(60)).accuracy(&unseen).unwrap();
    assert!(spiking > 0.95, "spiking {spiking}");
}

#[test]
fn the_same_seeds_give_the_same_weights() {
    let data = rings(100, 1);
    let run = |seed| {
        let mut config = config(2);
        config.seed = seed;
        trained(mlp(), &data, &config).tensors()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6), "another order of rows");
    assert_ne!(
        Learner::init(mlp(), 1).tensors(),
        Learner::init(mlp(), 2).tensors(),
        "another start"
    );
}

#[test]
fn tensors_go_out_and_come_back_in_any_order() {
    let source = Learner::init(mlp(), 1);
    let mut tensors = source.tensors();
    let shapes: Vec<_> = tensors.iter().map(|(n, s, _)| (n.as_str(), s.clone())).collect();
    assert_eq!(
        shapes,
        [
            ("fc1.weight", vec![16, 2]),
            ("fc1.bias", vec![16]),
            ("fc2.weight", vec![2, 16]),
            ("fc2.bias", vec![2])
        ]
    );
    tensors.reverse();
    let mut copy = Learner::init(mlp(), 2);
    copy.load(&tensors).unwrap();
    assert_eq!(copy.tensors(), source.tensors());
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let mut learner = Learner::init(mlp(), 1);
    let good = learner.tensors();
    let mut refused = |change: &dyn Fn(&mut Vec<NamedTensor>)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        let error = learner.load(&tensors).unwrap_err().to_string();
        assert_eq!(learner.tensors(), good);
        error
    };
    assert!(refused(&|t| drop(t.remove(1))).contains("\"fc1.bias\" is missing"));
    let shape = refused(&|t| t[0].1 = vec![2, 16]);
    assert!(shape.contains("\"fc1.weight\" has shape [2, 16]"), "{shape}");
    assert!(refused(&|t| t[0].2.truncate(31)).contains("31 elements"));
    assert!(refused(&|t| t.push(("extra".into(), vec![], vec![0.0]))).contains("\"extra\""));
    assert!(refused(&|t| t.push(good[0].clone())).contains("given twice"));
}

#[test]
fn data_of_another_width_or_more_classes_is_refused() {
    let mut learner = Learner::init(Softmax { inputs: 2, classes: 3 }, 1);
    let reference = learner.tensors();
    let wide = Examples::new(vec![0.0; 3], vec![0], 3).unwrap();
    assert!(matches!(learner.accuracy(&wide), Err(LearnerError::Data { .. })));
    let strange = Examples::new(vec![0.0; 2], vec![3], 2).unwrap();
    assert!(matches!(
        learner.train(&strange, &config(1), &reference),
        Err(LearnerError::Data { .. })
    ));
}

#[test]
fn no_rows_teach_nothing() {
    let empty = Examples::new(vec![], vec![], 2).unwrap();
    let mut learner = Learner::init(mlp(), 1);
    let before = learner.tensors();
    assert_eq!(learner.train(&empty, &config(3), &before), Ok(0.0));
    assert_eq!(learner.accuracy(&empty), Ok(0.0));
    assert_eq!(learner.tensors(), before);
}
