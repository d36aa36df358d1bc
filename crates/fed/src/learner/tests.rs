use ndarray::{Array, Array2, array};

use super::*;

fn rows_of(features: Vec<f32>) -> Array2<f32> {
    Array::from_shape_vec((features.len() / 2, 2), features).unwrap()
}

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
    Examples::new(rows_of(features), labels).unwrap()
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
    Examples::new(rows_of(features), labels).unwrap()
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
fn tensors_go_out_and_come_back() {
    let source = Learner::init(mlp(), 1);
    let tensors = source.tensors();
    let shapes: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.shape()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("fc1.bias", &[16][..]),
            ("fc1.weight", &[16, 2]),
            ("fc2.bias", &[2]),
            ("fc2.weight", &[2, 16])
        ]
    );
    let mut copy = Learner::init(mlp(), 2);
    copy.load(&tensors).unwrap();
    assert_eq!(copy.tensors(), source.tensors());
    // The same elements in another order in memory.
    let weight = tensors["fc1.weight"].array::<f32>().unwrap();
    let turned = weight.t().as_standard_layout().into_owned().reversed_axes();
    let again = [("fc1.weight".to_owned(), Tensor::of(turned))].into_iter();
    let mut other = Learner::init(mlp(), 3);
    other.load(&tensors.clone().into_iter().chain(again).collect()).unwrap();
    assert_eq!(other.tensors(), source.tensors());
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let mut learner = Learner::init(mlp(), 1);
    let good = learner.tensors();
    let mut refused = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        let error = learner.load(&tensors).unwrap_err().to_string();
        assert_eq!(learner.tensors(), good);
        error
    };
    let put = |name: &'static str, tensor: Tensor| {
        move |tensors: &mut Tensors| drop(tensors.insert(name.to_owned(), tensor.clone()))
    };
    assert!(refused(&|t| drop(t.remove("fc1.bias"))).contains("\"fc1.bias\" is missing"));
    let shape = refused(&put("fc1.weight", Tensor::of(Array2::<f32>::zeros((2, 16)))));
    assert!(shape.contains("\"fc1.weight\" is F32 [2, 16]"), "{shape}");
    let dtype = refused(&put("fc1.bias", Tensor::of(Array::<f64, _>::zeros(16))));
    assert!(dtype.contains("is F64 [16], the network needs F32 [16]"), "{dtype}");
    assert!(refused(&put("extra", Tensor::of(array![0.0f32]))).contains("\"extra\""));
}

#[test]
fn data_of_another_width_or_more_classes_is_refused() {
    let mut learner = Learner::init(Softmax { inputs: 2, classes: 3 }, 1);
    let reference = learner.tensors();
    let wide = Examples::new(Array2::zeros((1, 3)), vec![0]).unwrap();
    assert!(matches!(learner.accuracy(&wide), Err(LearnerError::Data { .. })));
    let strange = Examples::new(Array2::zeros((1, 2)), vec![3]).unwrap();
    assert!(matches!(
        learner.train(&strange, &config(1), &reference),
        Err(LearnerError::Data { .. })
    ));
}

#[test]
fn no_rows_teach_nothing() {
    let empty = Examples::new(Array2::zeros((0, 2)), vec![]).unwrap();
    let mut learner = Learner::init(mlp(), 1);
    let before = learner.tensors();
    assert_eq!(learner.train(&empty, &config(3), &before), Ok(0.0));
    assert_eq!(learner.accuracy(&empty), Ok(0.0));
    assert_eq!(learner.tensors(), before);
}
